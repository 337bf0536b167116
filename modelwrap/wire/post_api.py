"""Any service that takes a POST of JSON: a config says how it is asked, and known shapes are read by themselves."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from modelwrap.capabilities import Traits
from modelwrap.errors import CallError, InvalidResponse, ServerFailed, UnsupportedParameter
from modelwrap.secrets import Secret, reveal
from modelwrap.types import JSON, Change, ChatChunk, ChatReply, EmbeddingReply, Image, ImageReply, Reply
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, openai_chat, sse
from modelwrap.wire import post_api_answers as answers
from modelwrap.wire.content_type import ContentType, content_type_of
from modelwrap.wire.embeddings import check_vectors, listed
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_chat import to_bytes, to_headers
from modelwrap.wire.places import Place, at, with_value, written
from modelwrap.wire.post_api_bodies import MUST_BE_JSON
from modelwrap.wire.post_api_stream import SHAPES_OF_PIECES, Pieces, refusal_at
from modelwrap.wire.urls import with_query
from modelwrap.wire.usage import tokens_read

Kind: TypeAlias = Literal["any", "chat", "image", "embedding"]

# Where the names of models stand, whatever holds the other parameters.
_BESIDE_PARAMETERS = frozenset({"model"})

_SOUNDS = ("audio/", "video/")

_NO_TEXT = 'no text is where services put it; "answer_path" says where it stands'


@dataclass(frozen=True, slots=True)
class Service:
    """Be the codec of one service, as its config tells of it."""

    kind: Kind = "any"
    input: Place = ("inputs",)
    """Where in the JSON the prompt or the messages go."""
    parameters: Place = ()
    """Where the parameters go; empty for the top."""
    always: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What goes into every JSON."""
    streamed: Mapping[str, Any] | None = None
    """What goes in beside it where the answer is to be streamed; None where the service does not stream."""
    answer: Place = ()
    piece: Place = ()
    pieces_grow: bool = False
    """Whether each piece of a stream holds all that came so far."""
    usage: Place = ()
    error: Place = ()
    pooling: str = "none"

    # Requests.

    def to_request(self, call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
        """Put what is asked at its place, the parameters at theirs, and around both what the config says."""
        if call.stream and self.streamed is None:
            raise UnsupportedParameter(
                "stream: this service answers in one piece, unless stream_args or stream_url says how it streams",
                sent=False,
            )
        given = {**self.always, **((self.streamed or {}) if call.stream else {})}
        for name, value in call.parameters.items():
            place = self.parameters if self.parameters and name not in _BESIDE_PARAMETERS else ()
            given = with_value(given, (*place, name), value)
        given = {**with_value(given, self.input, call.input), **call.extra_body}
        body = _revealed(given)
        return HttpRequest(
            "POST",
            with_query(endpoint.base_url, endpoint.query),
            to_headers(call, endpoint),
            json=body,
            content=to_bytes(body),
            connection=endpoint.connection,
            in_body=tuple(value for value in given.values() if isinstance(value, Secret)),
        )

    # Answers in one piece.

    def from_response(self, body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> Reply:
        with failures.told_of(body, headers):
            reply = self._reply(body, headers, call, traits)
        reply.meta.request_id = failures.request_id_of(headers)
        return reply

    def _reply(self, body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> Reply:
        content_type = content_type_of(headers)
        if content_type.name.startswith("image/"):
            return _picture(body, content_type.name.removeprefix("image/"))
        if self.kind == "any" and content_type.name.startswith(_SOUNDS):
            return _sound(body, call)
        if self.kind in ("any", "chat") and not self.answer and self._is_text(body, content_type):
            text = content_type.text(body)
            reply: Reply = self._chat(answers.chat_of(text), headers, call, traits)
            reply._raw = text
            return reply
        raw = bodies.loads(body)
        self.check(raw)
        reply = self.read(raw, headers, call, traits)
        reply._raw = raw
        return reply

    def _is_text(self, body: bytes, content_type: ContentType) -> bool:
        """Tell whether a body is a text as it is, and not JSON under another name."""
        if not (content_type.is_plain or content_type.is_unsaid) or not body.strip() or b"\0" in body:
            return False
        try:
            found = bodies.loads(body)
        except InvalidResponse:
            return content_type.is_plain or not body.lstrip().startswith(MUST_BE_JSON)
        return content_type.is_plain and not self.knows(found)

    def knows(self, raw: JSON) -> bool:
        """Tell whether JSON is of a shape in which services answer, or says an error."""
        if not isinstance(raw, (dict, list)):
            return False
        if isinstance(raw, dict) and (not raw.keys().isdisjoint(SHAPES_OF_PIECES) or failures.says_error(raw)):
            return True
        named = (place for place in (self.answer, self.piece, self.error) if place)
        return any(at(raw, place) is not None for place in named) or bool(
            answers.chat_in(raw) or answers.images_in(raw)
        )

    def check(self, raw: JSON) -> None:
        """Raise the error that an answer of success says."""
        if self.error and (said := at(raw, self.error)):
            raise failures.refused(refusal_at(self.error, said, raw), 200)
        if isinstance(raw, dict) and failures.says_error(raw) and not self._answers(raw):
            error = failures.refused(failures.read(raw), 200)
            if type(error) is ServerFailed and not failures.names_error(raw):
                error.message += ' (if this is the answer, "answer_path" says where it stands)'
                error.retryable = False
            raise error

    def holds_answer(self, raw: JSON) -> bool:
        """Tell whether an answer is where it is looked for."""
        return not isinstance(raw, dict) or self._answers(raw)

    def _answers(self, raw: dict[str, Any]) -> bool:
        if self.answer:
            return at(raw, self.answer) is not None
        if self.kind == "embedding":
            return answers.vectors_in(raw) is not None
        chat = answers.chat_in(raw)
        if chat is None:
            return answers.images_in(raw) is not None
        # Some fill in both, and leave the answer empty where there is an error.
        return not raw.get("error") or any(at(choice, ("message", "content")) for choice in chat["choices"])

    def read(self, raw: JSON, headers: Mapping[str, str], call: WireCall, traits: Traits) -> Reply:
        """Read the JSON of an answer."""
        if self.kind == "embedding":
            return self._embeddings(raw, call)
        if self.kind == "image":
            images = answers.images_in(self._answer(raw), surely=True) if self.answer else None
            images = images or answers.images_in(raw, surely=True)
            if images is None:
                raise InvalidResponse("the answer holds no images")
            return ImageReply(data=[Image(**image) for image in images])
        chat = self.chat_in(raw)
        if chat is not None:
            return self._chat(chat, headers, call, traits)
        images = answers.images_in(raw)
        if images is not None:
            return ImageReply(data=[Image(**image) for image in images])
        if self.kind == "chat":
            raise InvalidResponse(_NO_TEXT)
        call.changes.append(Change("defaulted", "text", f"{_NO_TEXT}; all that came is in raw"))
        return ChatReply(choices=[])

    def chat_in(self, raw: JSON) -> dict[str, Any] | None:
        """Give an answer in OpenAI's shape; None where no text is found in it."""
        chat = answers.chat_of(self._text(raw), raw) if self.answer else answers.chat_in(raw)
        if chat is not None and self.usage and (counts := self.counts_in(raw)):
            return {**chat, "usage": counts}
        return chat

    def counts_in(self, raw: JSON) -> dict[str, int] | None:
        """Find how many tokens an answer cost."""
        return answers.counts_in(at(raw, self.usage)) if self.usage else answers.usage_in(raw)

    def _text(self, raw: JSON) -> str:
        found = self._answer(raw)
        text = answers.text_of(found)
        if text is None:
            raise InvalidResponse(f"answer_path: no text stands at {written(self.answer)}, but {_shown(found)}")
        return text

    def _answer(self, raw: JSON) -> JSON:
        found = at(raw, self.answer)
        if found is None:
            raise InvalidResponse(f"answer_path: nothing stands at {written(self.answer)}; the answer is {_shown(raw)}")
        return found

    def _chat(self, chat: dict[str, Any], headers: Mapping[str, str], call: WireCall, traits: Traits) -> ChatReply:
        return openai_chat.from_response(answers.as_bytes(chat), headers, call, self._as_told(traits))

    def _as_told(self, traits: Traits) -> Traits:
        """Read reasoning out of the text of a chat only: elsewhere a text is whatever it is."""
        return traits if self.kind == "chat" else replace(traits, think_tags=False)

    def _embeddings(self, raw: JSON, call: WireCall) -> EmbeddingReply:
        found = self._answer(raw) if self.answer else answers.vectors_in(raw)
        if not isinstance(found, list):
            raise InvalidResponse("the answer holds no embeddings")
        texts = len(call.input) if isinstance(call.input, list) else None
        vectors = answers.one_vector_each(found, texts, self.pooling)
        check_vectors(vectors, 1 if texts is None else texts)
        usage = self.counts_in(raw)
        cost = {} if usage is None else {"usage": usage}
        reply = EmbeddingReply.model_validate({"object": "list", "data": listed(vectors), "model": call.model, **cost})
        if usage is not None:
            reply.meta.usage = tokens_read(reply.usage)
        return reply

    # Answers in many pieces.

    async def from_stream(
        self, events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End
    ) -> AsyncGenerator[ChatChunk, None]:
        pieces = Pieces(self.piece, self.error, self.chat_in, self.counts_in, grow=self.pieces_grow)
        async with (
            aclosing(pieces.translated(events)) as translated,
            aclosing(openai_chat.from_stream(translated, call, self._as_told(traits), end)) as chunks,
        ):
            async for chunk in chunks:
                chunk._raw = pieces.last
                yield chunk

    # Refusals.

    def from_error(self, status: int, headers: Mapping[str, str], body: bytes) -> CallError:
        error = failures.failure(status, headers, body)
        if error.retry_after is None:
            error.retry_after = _estimated_time(body)
        return error

    def lesson(self, error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
        return None


def _revealed(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: reveal(value) if isinstance(value, Secret) else value for name, value in given.items()}


def _shown(found: JSON) -> str:
    """Say what came, by the names in it; its values may be anything."""
    names = ", ".join(map(str, list(found)[:20])) if isinstance(found, dict) else ""
    return f"{bodies.kind_of(found)} with {names}" if names else bodies.kind_of(found)


def _picture(body: bytes, kind: str) -> ImageReply:
    """Read an answer that is a picture and nothing else."""
    image = b64encode(body).decode("ascii")
    reply = ImageReply(data=[Image(b64_json=image)], output_format=kind)
    reply._raw = {"b64_json": image}
    return reply


def _sound(body: bytes, call: WireCall) -> ChatReply:
    """Give an answer that is a sound or a film: it is in `raw`, for no reply has a place for it."""
    call.changes.append(Change("defaulted", "text", "the answer is no text; its bytes are in raw"))
    reply = ChatReply(choices=[])
    reply._raw = {"b64_json": b64encode(body).decode("ascii")}
    return reply


def _estimated_time(body: bytes) -> float | None:
    """Read how long Hugging Face's API expects a model to load."""
    try:
        seconds = float(at(bodies.loads(body), ("estimated_time",)))
    except (InvalidResponse, TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < math.inf else None
