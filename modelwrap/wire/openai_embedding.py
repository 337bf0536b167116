"""OpenAI's embeddings, and whatever else speaks them: texts or tokens out, vectors as numbers or base64 in."""

from __future__ import annotations

import binascii
import sys
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, TypeGuard

from modelwrap.capabilities import Facts, Traits
from modelwrap.errors import BadRequest, CallError, InvalidResponse, UnsupportedParameter
from modelwrap.types import JSON, Change, ChatChunk, EmbeddingReply
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, sse
from modelwrap.wire.embeddings import LARGEST_ANSWER, check_count, check_vectors, inputs_of, wanted_length
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_chat import to_bytes, to_headers
from modelwrap.wire.repair import validated
from modelwrap.wire.urls import join
from modelwrap.wire.usage import tokens_read

_ENCODING = "encoding_format"
_BASE64 = "base64"

# The types of `array` for the numbers that stand in base64, by the words with which servers are asked for them.
_ITEMS = {
    **dict.fromkeys((_BASE64, "base64_float", "float", "float32"), "f"),
    **dict.fromkeys(("int8", "binary", "base64_int8"), "b"),
    **dict.fromkeys(("uint8", "ubinary", "base64_uint8", "base64_binary"), "B"),
}

# Beside the encoding Voyage, Mistral, vLLM and Jina are asked for a type of numbers.
_TYPE_PARAMETERS = ("output_dtype", "embed_dtype", "embedding_type")

# These hold eight dimensions in a number.
_OF_BITS = ("binary", "ubinary", "base64_binary")

# Requests.


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request for one text, one list of tokens, or a list of these."""
    if call.stream:
        raise UnsupportedParameter("stream: vectors come in one piece", sent=False)
    if call.parameters.get("input") is not None:
        raise BadRequest("input: the texts stand first in a call, without a name", sent=False)
    _check_inputs(texts_of(call.input), traits.facts)
    model = {"model": call.model} if call.model else {}
    body = {**model, "input": call.input, **_parameters(call, traits.facts), **call.extra_body}
    return HttpRequest(
        "POST",
        join(endpoint.base_url, "/embeddings", endpoint.query),
        to_headers(call, endpoint),
        json=body,
        content=to_bytes(body),
        connection=endpoint.connection,
        largest_body=LARGEST_ANSWER,
    )


def texts_of(given: Any) -> list[Any]:
    """List what is to be embedded, each of which a vector will come for."""
    return [given] if is_tokens(given) else inputs_of(given)


def size_of(text: Any) -> int:
    """Give the most tokens that a text can have: none stands for less than one byte."""
    if isinstance(text, str):
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) if is_tokens(text) else 0


def is_tokens(given: Any) -> TypeGuard[list[int]]:
    return isinstance(given, list) and bool(given) and all(type(item) is int for item in given)


def _check_inputs(inputs: Sequence[Any], facts: Facts) -> None:
    refuses_empty = facts.certain("embedding.empty_input") and facts.get("embedding.empty_input") == "rejected"
    for place, text in enumerate(inputs):
        where = f"input[{place}]" if len(inputs) > 1 else "input"
        if not isinstance(text, (str, Mapping)) and not is_tokens(text):
            raise BadRequest(f"{where}: must be text or a list of tokens, not {type(text).__name__}", sent=False)
        if refuses_empty and not text:
            raise BadRequest(f"{where}: is empty, and {facts.model} makes nothing of it", sent=False)


def _parameters(call: WireCall, facts: Facts) -> dict[str, Any]:
    written = {name: value for name, value in call.parameters.items() if value is not None}
    # A quarter of the bytes, and the very same numbers.
    if _BASE64 in (facts.get("embedding.encoding") or ()):
        written.setdefault(_ENCODING, _BASE64)
    key = "embedding.dimensions_param"
    if "dimensions" in written and facts.certain(key) and facts.get(key) is False:
        call.cannot("dimensions", f"vectors of {facts.model} have {facts.get('embedding.dimensions')} of them, always")
        del written["dimensions"]
    return written


# Replies.


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> EmbeddingReply:
    """Read the vectors; `InvalidResponse` where they are not one for each text."""
    with failures.told_of(body, headers):
        data = bodies.loads(body)
        items = _items(data, call, traits.facts)
        reply = validated(EmbeddingReply, {**data, "data": items}, call.changes)
    reply._raw = data
    reply.meta.request_id = failures.request_id_of(headers)
    if "usage" in reply.model_fields_set:
        reply.meta.usage = tokens_read(reply.usage)
    return reply


def _items(data: JSON, call: WireCall, facts: Facts) -> list[dict[str, Any]]:
    """Give the items of the answer's list in the order of the texts, their vectors as numbers."""
    items = data.get("data") if isinstance(data, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        if isinstance(data, dict) and failures.says_error(data):
            raise failures.refused(failures.read(data), 200)
        raise InvalidResponse("the answer holds no embeddings")
    texts = len(texts_of(call.input))
    check_count(items, texts)
    items = _in_order(items)
    asked = {**call.parameters, **call.extra_body}
    kind = _kind_of_numbers(asked, facts)
    vectors = [_numbers(item.get("embedding"), kind, place) for place, item in enumerate(items)]
    check_vectors(vectors, texts, None if kind in _OF_BITS else wanted_length(asked))
    return [
        {**item, "index": place, "embedding": vector}
        for place, (item, vector) in enumerate(zip(items, vectors, strict=True))
    ]


def _in_order(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    indexes = [item.get("index") for item in items]
    if len(items) == 1 or all(index is None for index in indexes):
        return items
    places = {index: item for index, item in zip(indexes, items, strict=True) if type(index) is int}
    if places.keys() != set(range(len(items))):
        raise InvalidResponse("embeddings: their indexes are not those of the texts, so nobody knows which is whose")
    return [places[place] for place in range(len(items))]


def _kind_of_numbers(asked: Mapping[str, Any], facts: Facts) -> str:
    """Say what was asked for; where that is no more than base64, it is what the model gives by itself."""
    types = (asked.get(name) for name in _TYPE_PARAMETERS)
    kind = next((name for name in types if isinstance(name, str)), None) or asked.get(_ENCODING)
    return str(kind or next(iter(facts.get("embedding.encoding") or ()), _BASE64))


def _numbers(vector: Any, kind: str, place: int) -> Any:
    """Read a vector that is written in base64; others are given back as they are."""
    if not isinstance(vector, str):
        return vector
    if kind not in _ITEMS:
        raise InvalidResponse(f"embeddings[{place}]: is written as {kind}, which is not known here")
    numbers = array(_ITEMS[kind])
    try:
        numbers.frombytes(binascii.a2b_base64(vector, strict_mode=True))
    except ValueError:
        raise InvalidResponse(f"embeddings[{place}]: is no base64 of numbers") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End
) -> AsyncGenerator[ChatChunk, None]:
    raise InvalidResponse("vectors come in one piece")
    yield  # makes this the generator that a codec gives


def from_error(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    return failures.failure(status, headers, body)


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    """Learn nothing: there are no two ways to ask for a vector."""
    return None
