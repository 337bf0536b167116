"""Chat over OpenAI's Responses, also where an answer is made in the background and asked for until it is there."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from typing import cast

from modelwrap.errors import CallError, ConnectionFailed, InvalidResponse, TimedOut
from modelwrap.models.attempts import Attempted
from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.gathering import GatheringModel
from modelwrap.runtime.base import Deadline, HttpResponse, Runtime
from modelwrap.secrets import Secret
from modelwrap.types import ChatChunk, ChatReply, Message, Reply
from modelwrap.wire import openai_responses, sse
from modelwrap.wire.http import HttpRequest, WireCall
from modelwrap.wire.openai_responses_parameters import goes_without_messages
from modelwrap.wire.openai_responses_reply import UNFINISHED

logger = logging.getLogger("modelwrap")

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 10.0
_MOST_FAILED_POLLS = 5

# What servers answer that know no such path; OpenAI's own, where an answer is gone, say more.
_NO_SUCH_PATH = (404, 405, 501)

# How long whoever gives up waits for the server to hear of it.
_CANCEL_WITHIN = 5.0


class OpenAIResponses(GatheringModel):
    """Chat over `/responses`."""

    codec = openai_responses

    async def to_input(self, call: Call, runtime: Runtime) -> list[Message]:
        take_response_format(call)
        if call.input is None and goes_without_messages(call.parameters, call.extra_body):
            return []
        return await read_messages(call, runtime)

    async def _exchange(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, attempt: Attempted
    ) -> Reply:
        reply = cast("ChatReply", await super()._exchange(request, wire, call, runtime, attempt))
        if not _is_unfinished(reply):
            return reply
        if not reply.id:
            raise InvalidResponse("the answer is made in the background, but the server did not say under which name")
        return await self._finished(reply.id, request, wire, call, runtime, attempt)

    async def _refusal(self, response: HttpResponse) -> CallError:
        error = await super()._refusal(response)
        if error.status in _NO_SUCH_PATH and error.code is None:
            error.message += (
                ' (asked at /responses, which not every server has; "api": "chat" asks for Chat Completions)'
            )
        return error

    def _chunks(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, end: sse.End | None = None
    ) -> AsyncGenerator[ChatChunk, None]:
        if not request.json.get("background"):
            return super()._chunks(request, wire, call, runtime, end)
        return self._chunks_of_background(request, wire, call, runtime)

    async def _chunks_of_background(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime
    ) -> AsyncGenerator[ChatChunk, None]:
        end = sse.End()
        try:
            async with aclosing(super()._chunks(request, wire, call, runtime, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            if end.reply_id and not end.marked:
                await self._cancel(end.reply_id, request, call, runtime)

    def _events(
        self,
        response: HttpResponse,
        request: HttpRequest,
        call: Call,
        runtime: Runtime,
        attempt: Attempted,
        end: sse.End,
    ) -> AsyncGenerator[sse.Event, None]:
        events = super()._events(response, request, call, runtime, attempt, end)
        if not request.json.get("background"):
            return events
        return self._events_of_background(events, request, call, runtime, attempt, end)

    async def _events_of_background(
        self,
        events: AsyncGenerator[sse.Event, None],
        request: HttpRequest,
        call: Call,
        runtime: Runtime,
        attempt: Attempted,
        end: sse.End,
    ) -> AsyncGenerator[sse.Event, None]:
        """Read on where a stream broke off, for the answer goes on being made; what came does not come again."""
        last, waits = -1, _waits_for_rest()
        rest: HttpResponse | None = None
        while True:
            broken: CallError | None = None
            try:
                async with aclosing(events):
                    async for event in events:
                        number = openai_responses.number_of(event)
                        if number is not None:
                            if number <= last and rest is not None:
                                continue
                            last, waits = number, _waits_for_rest()
                        yield event
                        if rest is not None and end.marked:
                            return
            except (ConnectionFailed, TimedOut) as error:
                broken = error
            finally:
                if rest is not None:
                    await rest.aclose()
            goes_on = last >= 0 and end.reply_id and not end.marked
            asked = openai_responses.to_rest(end.reply_id, request, last)
            rest = await self._rest(asked, waits, call, runtime, attempt) if goes_on else None
            if rest is None:
                if broken is not None:
                    raise broken
                return
            events = super()._events(rest, asked, call, runtime, attempt, end)

    async def _rest(
        self, asked: HttpRequest, waits: Iterator[float], call: Call, runtime: Runtime, attempt: Attempted
    ) -> HttpResponse | None:
        """Open what is left of a stream; None where the server does not give it."""
        for seconds in waits:
            await self._pause(seconds, call, runtime)
            try:
                return await self._polled(asked, call, runtime, attempt)
            except CallError as error:
                logger.debug("%s: the stream broke, and the rest of it could not be had: %s", self.name, error)
                if not error.retryable:
                    break
        return None

    # Answers that are made in the background.

    async def _finished(
        self, reply_id: str, asked: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, attempt: Attempted
    ) -> ChatReply:
        """Ask for an answer until it is there; whoever gives up before then tells the server."""
        failures = 0
        settled = False
        try:
            for seconds in _waits():
                await self._pause(seconds, call, runtime)
                try:
                    response = await self._polled(openai_responses.to_poll(reply_id, asked), call, runtime, attempt)
                    body = await response.read()
                except CallError as error:
                    failures += 1
                    if not error.retryable or failures > _MOST_FAILED_POLLS:
                        # Another attempt would have the answer made, and paid for, once more.
                        error.retryable = False
                        raise
                    continue
                settled = True
                reply = self.codec.from_response(body, response.headers, wire, self.traits)
                settled = not _is_unfinished(reply)
                if settled:
                    return reply
        except GeneratorExit:
            # Nobody runs this any more, and what it would await neither.
            settled = True
            raise
        finally:
            if not settled:
                await self._cancel(reply_id, asked, call, runtime)
        raise AssertionError("the waits have no end")

    async def _pause(self, seconds: float, call: Call, runtime: Runtime) -> None:
        await runtime.sleep(max(min(seconds, call.deadline.remaining()), 0.0))
        call.deadline.check()

    async def _polled(self, poll: HttpRequest, call: Call, runtime: Runtime, attempt: Attempted) -> HttpResponse:
        response = await self._send(await self._with_token(poll, call, runtime), call, runtime, attempt)
        if not 200 <= response.status < 300:
            raise await self._refusal(response)
        return response

    async def _with_token(self, request: HttpRequest, call: Call, runtime: Runtime) -> HttpRequest:
        """Log in anew: an answer may take longer than the token lives by which it was asked for."""
        if self.credential is None:
            return request
        token = await self.credential.token(runtime, call.deadline)
        return replace(request, headers={**request.headers, "authorization": Secret(f"Bearer {token.reveal()}")})

    async def _cancel(self, reply_id: str, asked: HttpRequest, call: Call, runtime: Runtime) -> None:
        """Tell the server that nobody waits for the answer any more; never raises, the caller has its own reason."""
        parting = replace(call, deadline=Deadline(_CANCEL_WITHIN, runtime.now))
        try:
            request = await self._with_token(openai_responses.to_cancel(reply_id, asked), parting, runtime)
            response = await self._send(request, parting, runtime, Attempted(parting, self.name, self._origin, runtime))
            await response.aclose()
        except CallError as error:
            logger.debug("%s: the answer made in the background could not be cancelled: %s", self.name, error)


def _is_unfinished(reply: ChatReply) -> bool:
    return reply.meta.finish_reason in UNFINISHED


def _waits_for_rest() -> Iterator[float]:
    return islice(_waits(), _MOST_FAILED_POLLS)


def _waits() -> Iterator[float]:
    seconds = _FIRST_WAIT
    while True:
        yield seconds
        seconds = min(seconds * 1.5, _LONGEST_WAIT)
