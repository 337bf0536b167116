"""Drive a model in either colour by the same words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from unittest.mock import patch

from modelwrap.models.base import Model
from modelwrap.runtime import backends
from modelwrap.runtime.base import HttpResponse, Runtime, run_sync
from modelwrap.types import ChatChunk, ChatReply

T = TypeVar("T")


@dataclass(frozen=True)
class Colour:
    name: str
    has_aiohttp: bool = True
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    """What makes the loop; None leaves it to asyncio."""

    @property
    def client(self) -> str:
        """The name of the colour and of the HTTP client in it."""
        return f"{self.name}-{'aiohttp' if self.name == 'concurrent' and self.has_aiohttp else 'httpx2'}"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run what awaits nothing but a runtime of this colour."""
        if self.name == "blocking":
            return run_sync(coroutine)
        aiohttp_or_not = patch.object(backends, "has_aiohttp", lambda: self.has_aiohttp)
        with aiohttp_or_not, asyncio.Runner(loop_factory=self.loop_factory) as runner:
            return runner.run(coroutine)

    def runtime(self) -> Runtime:
        from modelwrap.runtime.blocking import Blocking
        from modelwrap.runtime.concurrent import Concurrent

        return Blocking() if self.name == "blocking" else Concurrent()

    def call(self, model: Model, messages: Any = "Hi", /, **parameters: Any) -> ChatReply:
        if self.name == "blocking":
            return model(messages, **parameters)
        return self.run(model.acall(messages, **parameters))

    def stream(self, model: Model, messages: Any = "Hi", /, **parameters: Any) -> tuple[list[ChatChunk], ChatReply]:
        """Give every piece of a stream and its whole reply."""
        if self.name == "blocking":
            stream = model.stream(messages, **parameters)
            return list(stream), stream.reply

        async def read() -> tuple[list[ChatChunk], ChatReply]:
            stream = model.astream(messages, **parameters)
            return [chunk async for chunk in stream], await stream.reply

        return self.run(read())


COLOURS = [Colour("blocking"), Colour("concurrent")]
WAYS = [*COLOURS, Colour("concurrent", has_aiohttp=False)]


class FakeRuntime:
    """Answer requests from a list, on a clock that only sleeping moves."""

    blocking = True

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[Any] = []
        self.slept: list[float] = []
        self.clock = 0.0

    def now(self) -> float:
        return self.clock

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock += seconds

    async def run(self, function: Callable[..., T], /, *arguments: Any) -> T:
        return function(*arguments)

    async def wait(self, future: Any, deadline: Any) -> Any:
        return future.result(timeout=0)

    async def each(self, function: Callable[[Any], Coroutine[Any, Any, T]], items: Iterable[Any]) -> list[T]:
        return [await function(item) for item in items]

    async def send(self, request: Any, deadline: Any) -> HttpResponse:
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]
