"""Fakes under the names by which code asks for models."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Self, TypeVar, overload

from modelwrap import factory
from modelwrap.errors import ConfigError
from modelwrap.models.base import Model
from modelwrap.testing.fake import FakeModel, Scripted
from modelwrap.testing.session import Session

AnyModel = TypeVar("AnyModel", bound=Model)


class use_fake(Session[AnyModel]):  # noqa: N801 - read as a verb: with use_fake("gpt", "Hello")
    """Let `get_model(name)` give a fake while the block lasts, whether or not a config was loaded.

    What is not a model already is the script of a `FakeModel`.

    >>> import modelwrap
    >>> with use_fake("gpt", ["Hello"]) as model:
    ...     modelwrap.get_model("gpt")("Hi").text
    'Hello'
    """

    @overload
    def __init__(self, name: str, model: AnyModel) -> None: ...
    @overload
    def __init__(self: use_fake[FakeModel], name: str, model: Scripted | Iterable[Scripted]) -> None: ...
    def __init__(self, name: str, model: Any) -> None:
        super().__init__()
        _check_name(name)
        self.name = name
        self.model = model

    def anew(self) -> Self:
        return type(self)(self.name, self.model)

    def enter(self, stack: ExitStack) -> AnyModel:
        made: Any = self.model if isinstance(self.model, Model) else FakeModel(self.model, name=self.name)
        model: AnyModel = made
        stack.enter_context(factory.stand_in(self.name, model))
        return model


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"use_fake(name, model): the name of a model is a text, not {name!r}")
