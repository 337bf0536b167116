"""What models in this process share: how a call becomes a job, and how long its pieces are waited for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Collection, Iterator
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from pathlib import Path as FilePath
from typing import Any, Literal, Protocol, Self, TypeVar

from modelwrap.errors import ConfigError, TimedOut
from modelwrap.jsonc import Path
from modelwrap.models.base import Model
from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.remote_media import Fetching, FetchingConfig, with_media_fetched
from modelwrap.runtime.base import Deadline, Limit, Runtime
from modelwrap.runtime.lock import Lock
from modelwrap.suggestions import nearest
from modelwrap.types import Change, Message, Reply
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import WireCall

T = TypeVar("T")

_OWN_ARGS = frozenset(("timeout", "max_retries"))


class LocalConfig(FetchingConfig):
    """Be the config of a model that asks nobody over a network."""

    def unread(self) -> Iterator[Path]:
        yield from self.given("organization", "api_key")


class LocalModel(Model):
    """Compute answers in this process, or in one that belongs to it. Loaded at the first call, freed by `close()`."""

    loading_args: frozenset[str] = frozenset()
    """The `client_args` that say how it is loaded; others are for endpoints."""

    def __init__(self, config: LocalConfig) -> None:
        self.name = config.config_name
        self.timeouts = config.client_args.timeouts()
        self.max_retries = config.client_args.max_retries
        self.generate_args = config.generate_args
        self.streams_by_default = config.stream
        self.unsupported: Literal["error", "warn", "drop"] = config.unsupported
        self.endpoint = config.model
        self._fetching = Fetching(config.media)
        self._lock = Lock()

    @classmethod
    def from_config(cls, config: Any) -> Self:
        cls.check_client_args(config)
        return cls(config)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Name the config in what is raised of loading, as the errors of calls do."""
        try:
            yield
        except ConfigError as error:
            if not str(error).startswith(self.name):
                error.args = (f"{self.name}: {error}",)
            raise

    @contextmanager
    def loading_for(self, call: Call) -> Iterator[None]:
        """Say of a call that is out of time before the model is there what can be done."""
        try:
            yield
        except TimedOut as error:
            error.endpoint = call.endpoint = self.endpoint
            error.hint = "the model is still being loaded, which goes on; model.load() waits as long as that takes"
            raise

    @classmethod
    def check_client_args(cls, config: LocalConfig) -> None:
        """Refuse what would say how an endpoint is reached."""
        for name in sorted(config.client_args.model_fields_set - _OWN_ARGS - cls.loading_args):
            raise ConfigError(f"client_args.{name}: a model in this process has no endpoint")

    @property
    @abstractmethod
    def is_here(self) -> bool:
        """Whether nothing has to be fetched before it can be loaded."""

    @abstractmethod
    def check_packages(self) -> None:
        """Raise `MissingPackage` where what computes is not installed."""

    @abstractmethod
    def fetch(self) -> list[FilePath]:
        """Fetch the weights that are not here, and say where they are."""

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        assembly = Assembly()
        async with aclosing(await self.open(call, runtime)) as chunks:
            async for chunk in chunks:
                assembly.add(chunk)
        return assembly.reply()

    async def to_messages(self, call: Call, runtime: Runtime) -> list[Message]:
        """Give the call's messages with all media as bytes."""
        call.endpoint = self.endpoint
        take_response_format(call)
        messages = await with_media_fetched(await read_messages(call, runtime), call, runtime, self._fetching)
        call.changes[:] = call.lasting
        return messages

    def to_parameters(self, call: Call, known: Collection[str]) -> dict[str, Any]:
        """Give the call's parameters; those that are not known are refused, or left out where the config says so."""
        parameters = {name: value for name, value in call.parameters.items() if value is not None}
        if "max_completion_tokens" in parameters and "max_completion_tokens" not in known and "max_tokens" in known:
            parameters.setdefault("max_tokens", parameters.pop("max_completion_tokens"))
            call.changes.append(Change("renamed", "max_completion_tokens", "given as max_tokens"))
        if (answers := parameters.get("n")) == 1 and answers is not True:
            del parameters["n"]
        for name in ("extra_headers", "extra_query"):
            if getattr(call, name):
                self.wire(call).cannot(name, "no request goes out to a model in this process")
        for name in [name for name in sorted(parameters) if name not in known]:
            meant = nearest(name, known)
            question = f"; did you mean {meant!r}?" if meant else ""
            self.wire(call).cannot(name, self.why_unknown(name) + question)
            del parameters[name]
        return parameters

    def why_unknown(self, name: str) -> str:
        """Say why a parameter is refused."""
        return "unknown here"

    def wire(self, call: Call) -> WireCall:
        """Be what refuses parameters or leaves them out, as the config says."""
        return WireCall(self.endpoint, None, {}, unsupported=self.unsupported, changes=call.changes)


class Taken(Protocol[T]):
    """Be pieces that one caller takes: a feed, or what makes them when it is asked."""

    def next(self) -> Future[list[T] | None]:
        """Promise the next pieces; None after the last."""

    def abandon(self) -> None:
        """Say that nobody will take another."""


async def taken(feed: Taken[T], call: Call, runtime: Runtime) -> AsyncGenerator[T, None]:
    """Give the pieces of a feed, waiting no longer than the call's limits allow; it is abandoned at the end."""
    patience = call.timeouts.first_token if call.stream else call.timeouts.total
    limit = Limit(patience, call.deadline, "first_token")
    try:
        while (pieces := await _next(feed, limit, runtime)) is not None:
            for piece in pieces:
                yield piece
            limit.change(call.timeouts.idle, "idle")
    finally:
        feed.abandon()


async def _next(feed: Taken[T], limit: Limit, runtime: Runtime) -> list[T] | None:
    try:
        return await runtime.wait(feed.next(), Deadline(limit.left(), runtime.now))
    except TimedOut:
        passed = limit.passed()
        # Nothing here passes by itself: another attempt would stand in the same queue.
        passed.retryable = False
        raise passed from None
