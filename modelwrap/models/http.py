"""A model at the other end of HTTP: a codec says what the bytes mean, an endpoint where they go."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from modelwrap import runtime as runtimes
from modelwrap.capabilities import Traits
from modelwrap.config import ModelConfig
from modelwrap.errors import (
    AuthenticationFailed,
    BadRequest,
    CallError,
    NotFound,
    ResponseTooLarge,
    TLSFailed,
    warn,
)
from modelwrap.models.attempts import Attempted, Opened
from modelwrap.models.base import Model
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.runtime.auth import Credential
from modelwrap.runtime.base import HttpResponse, Runtime, next_or_none, run_sync
from modelwrap.secrets import HIDDEN, Scrubber, Secret
from modelwrap.types import JSON, Change, ChatChunk, Reply
from modelwrap.wire import sse
from modelwrap.wire.failures import request_id_of
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.urls import origin, shown

if TYPE_CHECKING:
    from modelwrap.models.carrier import Carrier

logger = logging.getLogger("modelwrap")

_UNKNOWN_ISSUER = re.compile("issuer|self-?signed", re.IGNORECASE)

# One lesson about the token limit's name, one about usage on streams.
_MOST_LESSONS = 2

# Not imported before the first call, which takes a tenth of a second; until then there is nothing to close.
_BACKENDS = "modelwrap.runtime.backends"

# How long the end of a body may come after the end mark in it.
_LINGER = 0.05


class Codec(Protocol):
    """Translate between calls and bytes; a module of pure functions."""

    def to_request(self, call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest: ...

    def from_response(self, body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> Reply: ...

    def from_stream(
        self, events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End
    ) -> AsyncGenerator[ChatChunk, None]: ...

    def from_error(self, status: int, headers: Mapping[str, str], body: bytes) -> CallError: ...

    def lesson(self, error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
        """Tell what a refusal teaches about the endpoint; None where it teaches nothing."""


class Decoder(Protocol):
    """Turn the bytes of a body into events, as they come."""

    def feed(self, data: bytes) -> list[sse.Event]: ...

    def check(self) -> None:
        """Raise what is wrong with the bytes behind the last event."""

    def finish(self) -> list[sse.Event]:
        """Give what is left when the body has ended."""


class HttpModel(Model):
    """Call an endpoint through a codec; subclasses say how their input becomes the wire's."""

    codec: Codec
    largest_event: int = sse.LARGEST_EVENT
    """How many bytes one event of a stream may have."""
    credential: Credential | None = None
    """Where tokens come from that run out; None where the endpoint's headers say who asks."""

    def __init__(self, name: str, model: str, endpoint: Endpoint, traits: Traits = Traits()) -> None:
        self.name = name
        self.model = model
        self.endpoint = endpoint
        self.traits = traits
        self.placeholders: tuple[str, ...] = ()
        self.unsupported: Literal["error", "warn", "drop"] = "error"
        self.carrier: Carrier | None = None
        self._origin = origin(endpoint.base_url)

    def configure(self, config: ModelConfig) -> None:
        """Take from a config what all calls have in common."""
        self.timeouts = config.client_args.timeouts()
        self.max_retries = config.client_args.max_retries
        self.generate_args = config.generate_args
        self.streams_by_default = config.stream
        self.unsupported = config.unsupported
        self.placeholders = config.placeholders

    async def to_input(self, call: Call, runtime: Runtime) -> Any:
        """Make what the caller gave into what the codec takes."""
        return call.input

    # What a Model writes.

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        return await self._completed(self._wire_call(call, await self.to_input(call, runtime)), call, runtime)

    async def _completed(self, wire: WireCall, call: Call, runtime: Runtime) -> Reply:
        asking = _Asking(self, wire, call, runtime)
        while True:
            request = await asking.request()
            try:
                with _Sent(self, call, request, runtime) as attempt:
                    return await self._exchange(request, wire, call, runtime, attempt)
            except (BadRequest, AuthenticationFailed) as error:
                if not asking.goes_on(error):
                    raise

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        wire = self._wire_call(call, await self.to_input(call, runtime))
        asking = _Asking(self, wire, call, runtime)
        while True:
            chunks = self._chunks(await asking.request(), wire, call, runtime)
            try:
                return Opened(await next_or_none(chunks), chunks)
            except (BadRequest, AuthenticationFailed) as error:
                if not asking.goes_on(error):
                    raise

    def describe(self, call: Call) -> Explanation:
        wire = self._wire_call(call, run_sync(self.to_input(call, runtimes.of_thread())))
        request = self._request(wire, call, self.traits)
        if self.carrier is not None:
            request = run_sync(self.carrier.shown(request, call.deadline, runtimes.of_thread()))
        scrub = Scrubber(request.secrets)
        headers = request.shown_headers()
        if self.credential is not None:
            headers["authorization"] = HIDDEN
        return Explanation(
            method=request.method,
            url=shown(scrub(request.url)),
            headers=headers,
            body=scrub.value(json.loads(request.content) if request.holds_json else request.json),
            changes=tuple(call.changes),
        )

    def close(self) -> None:
        if _BACKENDS in sys.modules:
            from modelwrap.runtime import backends

            backends.close(self.endpoint.base_url)

    async def aclose(self) -> None:
        if _BACKENDS in sys.modules:
            from modelwrap.runtime import backends

            await backends.aclose(self.endpoint.base_url)

    # One attempt.

    async def _exchange(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, attempt: Attempted
    ) -> Reply:
        response = await self._send(request, call, runtime, attempt)
        attempt.answered(response.status, request_id_of(response.headers))
        if not 200 <= response.status < 300:
            raise await self._refusal(response)
        return await self._read(await response.read(), response.headers, wire)

    async def _read(self, body: bytes, headers: Mapping[str, str], wire: WireCall) -> Reply:
        """Read an answer that was to come in one piece."""
        return self.codec.from_response(body, headers, wire, self.traits)

    async def _send(self, request: HttpRequest, call: Call, runtime: Runtime, attempt: Attempted) -> HttpResponse:
        if self.carrier is None:
            return await runtime.send(request, call.deadline)
        return await self.carrier.send(request, call.deadline, runtime, attempt.secrets)

    def _decoder(self, response: HttpResponse) -> Decoder:
        """Choose how the bytes of a stream become events."""
        return sse.Decoder(self.largest_event)

    async def _refusal(self, response: HttpResponse) -> CallError:
        try:
            body = await response.read()
        except ResponseTooLarge:
            raise
        except CallError as cut:
            # The status says what it is, also where the words do not come.
            error = self.codec.from_error(response.status, response.headers, b"")
            error.__cause__ = cut
            return error
        return self.codec.from_error(response.status, response.headers, body)

    async def _chunks(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, end: sse.End | None = None
    ) -> AsyncGenerator[ChatChunk, None]:
        end = end or sse.End()
        with _Sent(self, call, request, runtime) as attempt:
            response = await self._send(request, call, runtime, attempt)
            try:
                attempt.answered(response.status, request_id_of(response.headers))
                if not 200 <= response.status < 300:
                    raise await self._refusal(response)
                events = self._events(response, request, call, runtime, attempt, end)
                async with aclosing(events), aclosing(self.codec.from_stream(events, wire, self.traits, end)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                    await _drain(events, response)
            finally:
                await response.aclose()
        call.end_marked = end.marked
        call.ended = True

    def _events(
        self,
        response: HttpResponse,
        request: HttpRequest,
        call: Call,
        runtime: Runtime,
        attempt: Attempted,
        end: sse.End,
    ) -> AsyncGenerator[sse.Event, None]:
        """Read the events of a stream; one that breaks may be read on elsewhere."""
        return _events(response, call.timeouts.idle, self._decoder(response))

    def _wire_call(self, call: Call, prepared: Any) -> WireCall:
        return WireCall(
            model=self.model,
            input=prepared,
            parameters=call.parameters,
            stream=call.stream,
            extra_headers=call.extra_headers,
            extra_body=call.extra_body,
            unsupported=self.unsupported,
            changes=call.changes,
        )

    def _request(self, wire: WireCall, call: Call, traits: Traits) -> HttpRequest:
        call.endpoint = self._origin
        call.deadline.check()
        call.changes[:] = call.lasting
        endpoint = self.endpoint
        if call.extra_query:
            endpoint = replace(endpoint, query={**endpoint.query, **call.extra_query})
        request = self.codec.to_request(wire, endpoint, traits)
        if self.unsupported == "warn":
            for change in wire.changes:
                if change.kind == "dropped":
                    warn(f"{self.name}: {change}")
        return request.prepared(call.timeouts)

    def _learn(self, error: BadRequest, request: JSON, call: Call, traits: Traits) -> bool:
        """Take in what a refusal teaches about the endpoint; the refused request was made by `traits`."""
        lesson = self.codec.lesson(error, request, traits)
        if lesson is None:
            return False
        # Calls that were under way together are refused together; the first of them has taught the endpoint already.
        if new := self.codec.lesson(error, request, self.traits):
            self.traits, _ = new
        call.lasting.append(lesson[1])
        return True


class _Sent(Attempted):
    """Be an attempt by one request, no secret of which gets out with an error."""

    __slots__ = ("_model", "_request")

    def __init__(self, model: HttpModel, call: Call, request: HttpRequest, runtime: Runtime) -> None:
        super().__init__(call, model.name, model._origin, runtime)
        self._model = model
        self._request = request

    def failed(self, error: CallError) -> None:
        super().failed(error)
        model = self._model
        self.refused_here = isinstance(error, BadRequest) and not error.sent
        tokens = model.credential.known if model.credential is not None else ()
        error.hint = self._hint(error)
        error.scrub(Scrubber((*self._request.secrets, *self.secrets, *tokens)))

    def _hint(self, error: CallError) -> str:
        """Say what the caller can do, where the config can be what is wrong."""
        model, message = self._model, error.message
        if isinstance(error, AuthenticationFailed) and model.placeholders:
            return f"in the config, {', '.join(model.placeholders)} holds a placeholder, not a key"
        if isinstance(error, AuthenticationFailed) and not (self._request.secrets or self.secrets or model.credential):
            return "no key was sent; api_key in the config gives one"
        if isinstance(error, NotFound) and "model" not in message.lower() and model.model not in message:
            return f"is the base URL right? asked was {urlsplit(self._request.url).path}"
        if isinstance(error, TLSFailed) and _UNKNOWN_ISSUER.search(message):
            return "verify in client_args may name a file with the certificate to trust"
        return ""


class _Asking:
    """Make the requests of one attempt: what a refusal teaches is put right, and asked once more."""

    __slots__ = ("_call", "_lessons_left", "_model", "_refused", "_runtime", "_sent", "_token", "_traits", "_wire")

    def __init__(self, model: HttpModel, wire: WireCall, call: Call, runtime: Runtime) -> None:
        self._model = model
        self._wire = wire
        self._call = call
        self._runtime = runtime
        self._lessons_left = _MOST_LESSONS
        self._traits = model.traits
        self._sent: JSON = None
        self._token: Secret | None = None
        self._refused: Secret | None = None

    async def request(self) -> HttpRequest:
        model, call = self._model, self._call
        self._traits = model.traits
        request = model._request(self._wire, call, self._traits)
        self._sent = request.json
        if model.credential is None:
            return request
        self._token = await model.credential.token(self._runtime, call.deadline, refused=self._refused)
        authorization = Secret(f"Bearer {self._token.reveal()}")
        return replace(request, headers={**request.headers, "authorization": authorization})

    def goes_on(self, error: BadRequest | AuthenticationFailed) -> bool:
        """Tell whether the next request will differ in what was refused."""
        if isinstance(error, AuthenticationFailed):
            if self._token is None or self._refused is not None:
                return False
            self._refused = self._token
            return True
        self._lessons_left -= 1
        return self._lessons_left >= 0 and self._model._learn(error, self._sent, self._call, self._traits)


async def _events(response: HttpResponse, idle: float, decoder: Decoder) -> AsyncGenerator[sse.Event, None]:
    """Read events as they come; bytes that make no event, or an empty one, are no sign of life."""
    limit = response.read_limit
    async with aclosing(response.stream()) as parts:
        async for part in parts:
            events = decoder.feed(part)
            lives = any(event.data for event in events)
            if lives:
                limit.change(idle, "idle")
            for event in events:
                yield event
            decoder.check()
            if lives:
                # Counted from when the reader came back: how long it took over an event is its own affair.
                limit.begin()
            elif limit.left() <= 0:
                raise limit.passed()
    for event in decoder.finish():
        yield event
    decoder.check()


async def _drain(events: AsyncIterator[sse.Event], response: HttpResponse) -> None:
    """Read from the end mark to the end of the body, so that the connection serves the next call too."""
    response.read_limit.change(_LINGER, "idle")
    response.read_limit.begin()
    try:
        await next_or_none(events)
    except CallError as error:
        # The reply is whole; a body that does not end only costs its connection, which is closed.
        logger.debug("the body of a stream did not end with its last event: %s", error)
