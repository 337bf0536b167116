"""Who is judged: this library in its colours and over its HTTP clients, and OpenAI's own client beside it."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import ssl
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")

KEY = "sk-canary-Zq3x7/9+aB"


@dataclass(frozen=True)
class Settings:
    """Say how a client is made; all times in seconds."""

    url: str
    total: float = 3.0
    connect: float = 0.3
    first_token: float = 0.4
    idle: float = 0.4
    retries: int = 2
    key: str = KEY
    extra: dict[str, Any] = field(default_factory=dict)
    """More for `client_args`, or for the other client's own constructor."""


@dataclass
class Failure:
    """Be an error as the judge looks at it; it travels between processes as JSON."""

    name: str
    kinds: tuple[str, ...]
    """The names of the classes of this library's tree that it may pass for."""
    own: bool
    """Whether its author has made it for its users to catch."""
    message: str
    shown: str
    """Everything that somebody could print of it."""
    status: int | None = None
    retry_after: float | None = None
    limit: str | None = None
    body: str | None = None
    partial: str | None = None
    calls: list[str] | None = None
    """The arguments of the tool calls in the partial reply."""
    attempts: int | None = None
    sent: bool | None = None
    lacking: list[str] = field(default_factory=list)
    """What every error is to carry and this one does not."""


@dataclass
class Outcome:
    text: str | None = None
    pieces: list[str] = field(default_factory=list)
    failure: Failure | None = None
    seconds: float = 0.0
    attempts: int | None = None
    done: bool | None = None
    finish: str | None = None
    tokens: int | None = None
    choices: dict[int, str] = field(default_factory=dict)
    peak: float = 0.0
    """By how many MiB the most memory that the process ever had has grown."""


class Left(Exception):
    """Be raised by a reader in the middle of a stream."""


class Client(ABC):
    """Ask one model."""

    @abstractmethod
    def ask(
        self,
        prompt: str = "Hi",
        *,
        stream: bool = False,
        leave_after: int | None = None,
        dwell: float = 0.0,
        **given: Any,
    ) -> Outcome:
        """Ask, and tell what became of it.

        `leave_after` reads so many pieces of a stream and hangs up, `dwell` spends so many seconds over the first.
        """

    @abstractmethod
    def leave(self, way: str) -> None:
        """Read three pieces of a stream, and leave."""

    @abstractmethod
    def close(self) -> list[str]:
        """Close, and tell what is left behind."""


class Column(ABC):
    name: str
    ours = True
    ways_to_leave: tuple[str, ...] = ("close", "raise", "drop")

    @abstractmethod
    def trusting(self, authority: str) -> dict[str, Any]:
        """Give the settings of a client that trusts an authority."""

    @abstractmethod
    def through(self, proxy: str | None, authority: str | None = None) -> dict[str, Any]:
        """Give the settings of a client that goes through a proxy; None goes through none, whatever is set."""

    @abstractmethod
    def client_with_credential(self, settings: Settings, fetch: Callable[[], tuple[str, float]]) -> Client:
        """Make a client that fetches its tokens."""

    @abstractmethod
    def plain(self, settings: Settings) -> Callable[[str], str | None]:
        """Give a function that asks, and that any thread and any process may call."""

    @abstractmethod
    def in_loops(self, settings: Settings) -> Callable[[str], str | None]:
        """Give a function that runs an event loop of its own and asks in there."""

    @abstractmethod
    def small_pool(self, size: int) -> AbstractContextManager[dict[str, Any]]:
        """Let clients have so many connections only, and give their settings."""

    @abstractmethod
    def client(self, settings: Settings) -> Client: ...

    @abstractmethod
    def prepared(self) -> AbstractContextManager[None]:
        """Make the waits between attempts short: how long they are is tested elsewhere."""

    def warm(self) -> None:
        """Load all that is loaded when it is first needed, so that no row's time holds it."""
        from modelwrap.testing import FaultServer

        with FaultServer() as server, self.prepared():
            client = self.client(Settings(server.url("status", times=1), total=30.0, connect=10.0, first_token=10.0))
            client.ask()
            client.ask(stream=True)
            client.close()

    @property
    def place(self) -> str:
        """Say where another process finds this column: in the `COLUMNS` of a module, under its name."""
        return f"{type(self).__module__}:{self.name}"

    def __str__(self) -> str:
        return self.name


def timed(outcome: Outcome, started: float) -> Outcome:
    outcome.seconds = time.monotonic() - started
    return outcome


# This library.


def lost_by(copying: Callable[[Any], Any], error: BaseException) -> str | None:
    try:
        twin = copying(error)
    except Exception as failed:  # whatever goes wrong with it is what is reported
        return f"{type(failed).__name__}: {failed}"
    fields = [{name: repr(value) for name, value in vars(one).items()} for one in (twin, error)]
    kept = type(twin) is type(error) and str(twin) == str(error) and fields[0] == fields[1]
    return None if kept else "it is not the same afterwards"


def lacking(error: BaseException, fields: dict[str, Any]) -> list[str]:
    copies = {"pickle": lambda one: pickle.loads(pickle.dumps(one)), "deepcopy": copy.deepcopy}
    lost = {name: lost_by(copying, error) for name, copying in copies.items()}
    found = [f"{name}: {reason}" for name, reason in lost.items() if reason]
    return found + [f"it has no {name}" for name, value in fields.items() if value is None]


def shown(error: BaseException) -> str:
    texts = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    texts += traceback.TracebackException.from_exception(error, capture_locals=False).format()
    return "\n".join(texts)


def own_failure(error: BaseException) -> Failure:
    from modelwrap.errors import CallError

    kinds = tuple(kind.__name__ for kind in type(error).__mro__)
    failure = Failure(type(error).__name__, kinds, isinstance(error, CallError), str(error), shown(error))
    if isinstance(error, CallError):
        partial = error.partial
        failure.status, failure.retry_after, failure.sent = error.status, error.retry_after, error.sent
        failure.limit, failure.attempts = getattr(error, "limit", None), error.attempts
        failure.body = error.body
        failure.partial = None if partial is None else partial.text
        if partial is not None and partial.choices and partial.choices[0].message.tool_calls:
            failure.calls = [call.function.arguments for call in partial.choices[0].message.tool_calls]
        fields = {
            name: getattr(error, name, None) for name in ("model", "endpoint", "attempts", "seconds", "retryable")
        }
        failure.lacking = lacking(error, fields)
    return failure


def own_outcome(reply: Any, pieces: list[str]) -> Outcome:
    return Outcome(
        text=reply.text,
        pieces=pieces,
        attempts=reply.meta.attempts,
        done=reply.meta.done,
        finish=reply.meta.finish_reason,
        tokens=reply.meta.usage.total if reply.meta.usage else None,
        choices={choice.index: choice.message.content for choice in reply.choices},
    )


class OwnColumn(Column):
    config: ClassVar[Mapping[str, Any]] = {"model_type": "openai", "model": "m"}
    """What a config says beside the key and the client."""

    def __init__(self, http: str, *, blocking: bool) -> None:
        self.http = http
        self.blocking = blocking
        self.name = f"{http} {'blocking' if blocking else 'async'}"

    def model(self, settings: Settings) -> Any:
        import modelwrap

        timeout = {name: getattr(settings, name) for name in ("total", "connect", "first_token", "idle")}
        arguments = {"base_url": settings.url, "timeout": timeout, "max_retries": settings.retries, "http": self.http}
        config = {"config_name": "judged", "api_key": settings.key, **self.config}
        return modelwrap.load({**config, "client_args": {**arguments, **settings.extra}})["judged"]

    def client(self, settings: Settings) -> Client:
        return BlockingClient(self.model(settings)) if self.blocking else ConcurrentClient(self.model(settings))

    @property
    def ways_to_leave(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("close", "raise", "drop") if self.blocking else ("close", "raise", "drop", "cancel")

    def trusting(self, authority: str) -> dict[str, Any]:
        return {"verify": authority}

    def through(self, proxy: str | None, authority: str | None = None) -> dict[str, Any]:
        return {"proxy": proxy or False, "verify": authority or True}

    def client_with_credential(self, settings: Settings, fetch: Callable[[], tuple[str, float]]) -> Client:
        from modelwrap.runtime.auth import Credential, Token
        from modelwrap.secrets import Secret

        def token() -> Token:
            text, lifetime = fetch()
            return Token(Secret(text), lifetime)

        model = self.model(settings)
        model.model.credential = Credential(token)
        return BlockingClient(model) if self.blocking else ConcurrentClient(model)

    def plain(self, settings: Settings) -> Callable[[str], str | None]:
        model = self.model(settings)
        if self.blocking:
            return lambda prompt: model(prompt).text  # type: ignore[no-any-return]
        return lambda prompt: asyncio.run(model.acall(prompt)).text  # type: ignore[no-any-return]

    def in_loops(self, settings: Settings) -> Callable[[str], str | None]:
        model = self.model(settings)

        async def ask(prompt: str) -> str | None:
            reply = model(prompt) if self.blocking else await model.acall(prompt)
            return reply.text  # type: ignore[no-any-return]

        return lambda prompt: asyncio.run(ask(prompt))

    @contextmanager
    def small_pool(self, size: int) -> Iterator[dict[str, Any]]:
        from modelwrap.runtime import places

        before, places.MOST = places.MOST, size
        try:
            yield {}
        finally:
            places.MOST = before

    @contextmanager
    def prepared(self) -> Iterator[None]:
        from modelwrap.policies import retry

        base, throttled = retry._BASE, retry._BASE_THROTTLED
        retry._BASE = retry._BASE_THROTTLED = 0.04
        retry._BUDGETS.clear()
        try:
            yield
        finally:
            retry._BASE, retry._BASE_THROTTLED = base, throttled


class BlockingClient(Client):
    def __init__(self, model: Any) -> None:
        self.model = model

    def ask(
        self,
        prompt: str = "Hi",
        *,
        stream: bool = False,
        leave_after: int | None = None,
        dwell: float = 0.0,
        **given: Any,
    ) -> Outcome:
        started = time.monotonic()
        pieces: list[str] = []
        try:
            if not stream:
                return timed(own_outcome(self.model(prompt, **given), []), started)
            with self.model.stream(prompt, **given) as reading:
                for chunk in reading:
                    pieces.append(chunk.text)
                    time.sleep(dwell if len(pieces) == 1 else 0)
                    if leave_after is not None and len(pieces) >= leave_after:
                        return timed(Outcome(pieces=pieces), started)
                return timed(own_outcome(reading.reply, pieces), started)
        except Exception as error:  # what came is what is judged
            return timed(Outcome(pieces=pieces, failure=own_failure(error)), started)

    def leave(self, way: str) -> None:
        stream = self.model.stream("Hi")
        with suppress(Left):
            for number, _ in enumerate(stream, 1):
                if number == 3 and way == "raise":
                    with stream:
                        raise Left
                if number == 3:
                    break
        if way == "close":
            stream.close()
        del stream
        gc.collect()

    def close(self) -> list[str]:
        self.model.close()
        return []


class ConcurrentClient(Client):
    """Keep a loop running between the calls, so that what they leave behind can be seen."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.complaints: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._complain)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"the loop complains: {context.get('message')} {context.get('exception')!r}")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def ask(
        self,
        prompt: str = "Hi",
        *,
        stream: bool = False,
        leave_after: int | None = None,
        dwell: float = 0.0,
        **given: Any,
    ) -> Outcome:
        return self.run(self.aask(prompt, stream=stream, leave_after=leave_after, dwell=dwell, **given))

    async def aask(
        self,
        prompt: str = "Hi",
        *,
        stream: bool = False,
        leave_after: int | None = None,
        dwell: float = 0.0,
        **given: Any,
    ) -> Outcome:
        started = time.monotonic()
        pieces: list[str] = []
        try:
            if not stream:
                return timed(own_outcome(await self.model.acall(prompt, **given), []), started)
            async with self.model.astream(prompt, **given) as reading:
                async for chunk in reading:
                    pieces.append(chunk.text)
                    await asyncio.sleep(dwell if len(pieces) == 1 else 0)
                    if leave_after is not None and len(pieces) >= leave_after:
                        return timed(Outcome(pieces=pieces), started)
                return timed(own_outcome(await reading.reply, pieces), started)
        except Exception as error:  # what came is what is judged
            return timed(Outcome(pieces=pieces, failure=own_failure(error)), started)

    def leave(self, way: str) -> None:
        self.run(self._leave(way))
        gc.collect()

    async def _leave(self, way: str) -> None:
        stream = self.model.astream("Hi")
        if way == "cancel":
            task = asyncio.create_task(self._read(stream, 10**6))
            await asyncio.sleep(0.2)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        elif way == "raise":
            with suppress(Left):
                async with stream:
                    await self._read(stream, 3)
                    raise Left
        else:
            await self._read(stream, 3)
            if way == "close":
                await stream.aclose()

    async def _read(self, stream: Any, most: int) -> None:
        number = 0
        async for _ in stream:
            number += 1
            if number == most:
                break

    async def _end(self) -> list[str]:
        await self.model.aclose()
        for _ in range(20):
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                break
            await asyncio.sleep(0.01)
        await self.loop.shutdown_asyncgens()
        return [f"a task is left: {task!r}" for task in left]

    def close(self) -> list[str]:
        left = self.run(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        return left + self.complaints


# OpenAI's own client.


class SdkColumn(Column):
    name = "openai SDK"
    ours = False

    def make(self, settings: Settings) -> Any:
        import httpx2
        import openai

        # One number bounds each read of its sockets, so the smallest of ours that fits is the fairest.
        read = min(settings.first_token, settings.total)
        limits = {"connect": settings.connect, "read": read, "pool": settings.connect}
        timeout = httpx2.Timeout(settings.total, **limits)
        return openai.OpenAI(
            base_url=settings.url, api_key=settings.key, timeout=timeout, max_retries=settings.retries, **settings.extra
        )

    def client(self, settings: Settings) -> Client:
        return SdkClient(self.make(settings))

    def trusting(self, authority: str) -> dict[str, Any]:
        return self.through(None, authority)

    def through(self, proxy: str | None, authority: str | None = None) -> dict[str, Any]:
        import httpx2

        verify = ssl.create_default_context(cafile=authority) if authority else True
        return {"http_client": httpx2.Client(proxy=proxy, verify=verify, trust_env=False, follow_redirects=True)}

    def client_with_credential(self, settings: Settings, fetch: Callable[[], tuple[str, float]]) -> Client:
        import openai

        sdk = openai.OpenAI(base_url=settings.url, api_key=lambda: fetch()[0], timeout=settings.total)
        return SdkClient(sdk)

    def plain(self, settings: Settings) -> Callable[[str], str | None]:
        sdk = self.make(settings)

        def ask(prompt: str) -> str | None:
            answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
            return answer.choices[0].message.content  # type: ignore[no-any-return]

        return ask

    def in_loops(self, settings: Settings) -> Callable[[str], str | None]:
        import openai

        sdk = openai.AsyncOpenAI(base_url=settings.url, api_key=settings.key, max_retries=settings.retries)

        async def ask(prompt: str) -> str | None:
            answer = await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
            return answer.choices[0].message.content

        return lambda prompt: asyncio.run(ask(prompt))

    @contextmanager
    def small_pool(self, size: int) -> Iterator[dict[str, Any]]:
        import httpx2

        yield {"http_client": httpx2.Client(limits=httpx2.Limits(max_connections=size))}

    @contextmanager
    def prepared(self) -> Iterator[None]:
        from openai import _base_client

        before = _base_client.INITIAL_RETRY_DELAY
        _base_client.INITIAL_RETRY_DELAY = 0.04
        try:
            yield
        finally:
            _base_client.INITIAL_RETRY_DELAY = before


class SdkClient(Client):
    def __init__(self, sdk: Any) -> None:
        self.sdk = sdk

    def ask(
        self,
        prompt: str = "Hi",
        *,
        stream: bool = False,
        leave_after: int | None = None,
        dwell: float = 0.0,
        **given: Any,
    ) -> Outcome:
        started = time.monotonic()
        pieces: list[str] = []
        try:
            messages = [{"role": "user", "content": prompt}]
            answer = self.sdk.chat.completions.create(model="m", messages=messages, stream=stream, **given)
            if stream:
                return timed(self._streamed(answer, pieces, leave_after, dwell), started)
            choice = answer.choices[0]
            texts = {one.index: one.message.content for one in answer.choices}
            return timed(Outcome(choice.message.content, [], done=True, choices=texts), started)
        except Exception as error:  # what came is what is judged
            return timed(Outcome(pieces=pieces, failure=sdk_failure(error)), started)

    def _streamed(self, stream: Any, pieces: list[str], leave_after: int | None, dwell: float) -> Outcome:
        outcome = Outcome(pieces=pieces)
        with stream:
            for chunk in stream:
                for choice in chunk.choices or ():
                    outcome.choices[choice.index] = outcome.choices.get(choice.index, "") + (choice.delta.content or "")
                    outcome.finish = choice.finish_reason or outcome.finish
                pieces.append((chunk.choices[0].delta.content or "") if chunk.choices else "")
                time.sleep(dwell if len(pieces) == 1 else 0)
                outcome.tokens = chunk.usage.total_tokens if chunk.usage else outcome.tokens
                if leave_after is not None and len(pieces) >= leave_after:
                    return outcome
        outcome.text = outcome.choices.get(0, "".join(pieces))
        return outcome

    def leave(self, way: str) -> None:
        stream = self.sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
        with suppress(Left):
            for number, _ in enumerate(stream, 1):
                if number == 3 and way == "raise":
                    with stream:
                        raise Left
                if number == 3:
                    break
        if way == "close":
            stream.close()
        del stream
        gc.collect()

    def close(self) -> list[str]:
        self.sdk.close()
        return []


# Read generously: an error of its own passes for everything that it might have been meant for.
_SDK_KINDS = {
    "APITimeoutError": "TimedOut",
    "APIConnectionError": "ConnectionFailed TLSFailed InvalidResponse StreamFailed StreamTruncated ResponseTooLarge",
    "APIResponseValidationError": "InvalidResponse ResponseTooLarge ContentFiltered",
    "RateLimitError": "RateLimited QuotaExhausted Overloaded",
    "InternalServerError": "ServerFailed Overloaded TimedOut",
    "BadRequestError": "BadRequest ContentFiltered ContextTooLong",
    "AuthenticationError": "AuthenticationFailed",
    "PermissionDeniedError": "PermissionDenied",
    "NotFoundError": "NotFound",
    "ConflictError": "ServerFailed",
    "UnprocessableEntityError": "BadRequest",
    "APIStatusError": "RedirectRefused BadRequest QuotaExhausted TimedOut ServerFailed InvalidResponse",
    "APIError": "StreamFailed StreamTruncated InvalidResponse Overloaded RateLimited ServerFailed",
    "TypeError": "BadRequest",
    "ValueError": "BadRequest",
    "UnicodeEncodeError": "BadRequest",
}


def sdk_failure(error: BaseException) -> Failure:
    import openai

    kinds = " ".join(_SDK_KINDS.get(kind.__name__, "") for kind in type(error).__mro__).split()
    own = isinstance(error, openai.OpenAIError)
    fields = {name: getattr(error, name, None) for name in ("attempts", "seconds", "retryable", "endpoint")}
    response = getattr(error, "response", None)
    asked = response.headers.get("retry-after") if response is not None else None
    return Failure(
        name=type(error).__name__,
        kinds=tuple(kinds),
        own=own,
        message=str(error),
        shown=shown(error),
        status=getattr(error, "status_code", None),
        # It is in the response, for those who know where to look.
        retry_after=float(asked) if asked and asked.replace(".", "").isdigit() else None,
        lacking=lacking(error, fields),
    )


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        OwnColumn("httpx2", blocking=True),
        OwnColumn("httpx2", blocking=False),
        OwnColumn("aiohttp", blocking=False),
        SdkColumn(),
    )
}
OURS = [column for column in COLUMNS.values() if column.ours]


def column_at(place: str) -> Column:
    """Find a column by its `place`."""
    module, _, name = place.partition(":")
    known = import_module(module).COLUMNS
    found: Iterable[Column] = known.values() if isinstance(known, dict) else known
    return next(column for column in found if column.name == name)
