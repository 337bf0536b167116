"""Context managers that decorate functions of both colours as well."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from modelwrap.errors import ConfigError

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


class Session(ABC, Generic[T]):
    """Be a context manager for one block at a time, and a decorator that makes a new one for each call."""

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        if len(arguments) == 1 and (inspect.isroutine(arguments[0]) or inspect.isclass(arguments[0])):
            raise ConfigError(f"write @{cls.__name__}(…) with its brackets above a function, not @{cls.__name__}")
        return super().__new__(cls)

    def __init__(self) -> None:
        self._stack: ExitStack | None = None

    @abstractmethod
    def anew(self) -> Self:
        """Give another of the same kind."""

    @abstractmethod
    def enter(self, stack: ExitStack) -> T:
        """Begin, and put on the stack what has to be undone."""

    def finish(self, *, raised: bool) -> None:
        """Do at the end of the block what may fail."""

    def __enter__(self) -> T:
        if self._stack is not None:
            raise ConfigError(f"this {type(self).__name__}(…) is in use already; make one for each block")
        with ExitStack() as stack:
            given = self.enter(stack)
            self._stack = stack.pop_all()
        return given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        assert stack is not None
        stack.close()
        self.finish(raised=kind is not None)

    def __call__(self, function: Function) -> Function:
        name = type(self).__name__
        if isinstance(function, type) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            # The block would be over before the first step of a generator, and pytest would not see a class.
            raise ConfigError(
                f"{name}(…) decorates functions; inside a generator or a class's methods write `with {name}(…):`"
            )
        decorated: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def decorated(*arguments: Any, **named: Any) -> Any:
                with self.anew():
                    return await function(*arguments, **named)

        else:

            @functools.wraps(function)
            def decorated(*arguments: Any, **named: Any) -> Any:
                with self.anew():
                    return function(*arguments, **named)

        result: Function = decorated
        return result
