"""Events of any service's stream, told in the shape of OpenAI's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from pydantic_core import from_json

from modelwrap.errors import InvalidResponse, StreamFailed
from modelwrap.types import JSON
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, sse
from modelwrap.wire import post_api_answers as answers
from modelwrap.wire.places import Place, at, written
from modelwrap.wire.post_api_bodies import TEXT

SHAPES_OF_PIECES = frozenset({"choices", "token", "done"})
"""What the pieces of known streams have, with a text in them or without."""

_END = sse.Event(None, "[DONE]")

# Events of these names hold no words, even where all others do.
_NO_WORDS = ("done", "end", "complete", "close")


class Pieces:
    """Tell what one stream says in OpenAI's shape."""

    def __init__(
        self,
        piece: Place,
        error: Place,
        whole: Callable[[JSON], dict[str, Any] | None],
        counts: Callable[[JSON], dict[str, int] | None],
        *,
        grow: bool = False,
    ) -> None:
        self._piece = piece
        self._error = error
        self._whole = whole
        self._counts = counts
        self._grow = grow
        self._texts: dict[tuple[Any, str], str] = {}
        """Where each piece holds all that came so far: that, by choice and field."""
        self._open = False
        """Whether the stream has an end of its own, which has not come."""
        self._words: bool | None = None
        """Whether the events are words as they are, and no JSON; None until one has come."""
        self.last: JSON = None
        """The piece that was told last, as it came."""

    async def translated(self, events: AsyncIterator[sse.Event]) -> AsyncGenerator[sse.Event, None]:
        own_end = said = False
        async for event in events:
            told = self._told(event)
            own_end = own_end or (told is event and event.event != "error")
            if told is not None:
                said = True
                yield told
        if self.last is not None and not said:
            raise InvalidResponse('no text is where services put it; "piece_path" says where it stands in the pieces')
        if not (own_end or self._open):
            # Nothing but the end of the body says so here.
            yield _END

    def _told(self, event: sse.Event) -> sse.Event | None:
        """Tell one event; the same object where it is OpenAI's already, None where it says nothing."""
        if event.event == TEXT:
            return self._of_words(event.data)
        if event.event == "error" or "[DONE]" in event.data[:8]:
            return event
        if self._words:
            self._open = event.unfinished
            if event.event in _NO_WORDS:
                return None
            return self._of_words(event.data)
        try:
            value = from_json(event.data)
        except ValueError as error:
            return self._of_no_json(event, error)
        if self._words is None and isinstance(value, (int, float)):
            self._words = True
            return self._of_words(event.data)
        self._words = False
        if value is None:
            return None
        self.last = value
        if self._error and (said := at(value, self._error)):
            return sse.Event("error", json.dumps(_said_at(self._error, said, value)))
        if event.bare:
            return self._of_whole(value, event)
        if isinstance(value, str):
            return self._event({"delta": {"content": value}})
        if isinstance(value, dict) and failures.says_error(value):
            return event
        return self._of_piece(value, event)

    def _of_no_json(self, event: sse.Event, error: ValueError) -> sse.Event | None:
        if event.bare:
            bodies.loads(event.data.encode("utf-8", "surrogatepass"))  # says what it is instead
        if event.unfinished:
            self._open = True
            return None
        if self._words is None and not event.data.lstrip().startswith(("{", "[")):
            self._words = True
            return self._of_words(event.data)
        raise StreamFailed(f"a piece of the stream is not JSON: {error}", body=event.data) from None

    def _of_words(self, text: str) -> sse.Event | None:
        self.last = text
        return self._event({"delta": {"content": text}}) if text else None

    def _of_whole(self, value: JSON, event: sse.Event) -> sse.Event:
        """Tell an answer that came in one piece after all."""
        if isinstance(value, dict) and value.get("error"):
            return event
        text = at(value, self._piece) if self._piece else None
        chat = answers.chat_of(text, value) if isinstance(text, str) else self._whole(value)
        return event if chat is None else sse.Event(None, json.dumps(chat), bare=True)

    def _of_piece(self, value: JSON, event: sse.Event) -> sse.Event | None:
        if self._piece:
            text = at(value, self._piece)
            return self._event({"delta": {"content": text}} if isinstance(text, str) else None, value)
        if isinstance(value, dict):
            if "choices" in value:
                return event
            if isinstance(value.get("token"), dict):
                return self._of_token(value)
            if isinstance(value.get("token"), str):
                return self._event({"delta": {"content": value["token"]}, **answers.reason_in(value)}, value)
            # Ollama's last piece says that it is done, llama.cpp's that it stops.
            for end in ("done", "stop"):
                if isinstance(value.get(end), bool):
                    return self._of_marked(value, last=value[end])
        chat = self._whole(value)
        return self._event(None, value) if chat is None else self._event_of(_deltas(chat), value)

    def _of_token(self, value: dict[str, Any]) -> sse.Event | None:
        """Tell a token of text-generation-inference, whose last comes with the whole text."""
        token, whole = value["token"], value.get("generated_text")
        self._open = whole is None
        text = "" if token.get("special") else str(token.get("text") or "")
        reason = None if self._open else at(value, ("details", "finish_reason")) or "stop"
        return self._event({"delta": {"content": text}, "finish_reason": reason}, value)

    def _of_marked(self, value: dict[str, Any], *, last: bool) -> sse.Event | None:
        """Tell a piece that says whether it is the last."""
        self._open = not last
        choices = _deltas(answers.chat_in(value) or {"choices": [{"index": 0, "message": {}}]})
        if last:
            choices = [{**choice, "finish_reason": choice.get("finish_reason") or "stop"} for choice in choices]
        return self._event_of(choices, value)

    def _event(self, choice: dict[str, Any] | None, value: JSON = None) -> sse.Event | None:
        return self._event_of([] if choice is None else [{"index": 0, **choice}], value)

    def _event_of(self, choices: list[dict[str, Any]], value: JSON) -> sse.Event | None:
        """Make an event of what a piece says and what it counts; None where it does neither."""
        known = {"model": value["model"]} if isinstance(value, dict) and isinstance(value.get("model"), str) else {}
        usage = None if value is None else self._counts(value)
        if not choices and usage is None:
            return None
        cost = {} if usage is None else {"usage": usage}
        if self._grow:
            choices = [{**choice, "delta": self._new_in(choice)} for choice in choices]
        return sse.Event(None, json.dumps({**known, "choices": choices, **cost}))

    def _new_in(self, choice: dict[str, Any]) -> JSON:
        """Give what a piece adds to those before it, all of which it repeats."""
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return delta
        new = dict(delta)
        for field in ("content", "reasoning_content"):
            place, text = (choice.get("index"), field), delta.get(field)
            if isinstance(text, str) and text:
                new[field] = text.removeprefix(self._texts.get(place, ""))
                self._texts[place] = text
        return new


def _deltas(chat: dict[str, Any]) -> list[dict[str, Any]]:
    """Tell the choices of an answer as those of a piece."""
    return [_delta(choice) for choice in chat["choices"] if isinstance(choice, dict)]


def _delta(choice: dict[str, Any]) -> dict[str, Any]:
    told = {"delta" if name == "message" and "delta" not in choice else name: item for name, item in choice.items()}
    # DashScope's word for "not yet".
    return {**told, "finish_reason": None} if told.get("finish_reason") == "null" else told


def refusal_at(place: Place, said: JSON, raw: JSON) -> failures.Refusal:
    """Read the error that stands at a place; a number there has its words beside it, if anywhere."""
    return failures.read(_said_at(place, said, raw))


def _said_at(place: Place, said: JSON, raw: JSON) -> dict[str, Any]:
    if isinstance(said, dict):
        return said
    if isinstance(said, (str, list)):
        return {"error": said}
    if isinstance(raw, dict) and failures.read(raw).message:
        return raw
    return {"error": f"{written(place)} is {json.dumps(said)}"}
