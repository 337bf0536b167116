"""Gemini's embeddings: each text a content of its own, for one content of several texts makes a single vector."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from modelwrap.capabilities import Traits
from modelwrap.errors import BadRequest, InvalidResponse, UnsupportedParameter
from modelwrap.types import Change, ChatChunk, EmbeddingReply
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, sse
from modelwrap.wire import gemini_replies as replies
from modelwrap.wire.embeddings import LARGEST_ANSWER, check_vectors, inputs_of, listed, wanted_length
from modelwrap.wire.gemini import from_error, lesson, model_path, operation_url
from modelwrap.wire.gemini_content import to_parts
from modelwrap.wire.gemini_parameters import HINTS, camel
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_chat import to_bytes, to_headers
from modelwrap.wire.usage import tokens_read

__all__ = ["from_error", "from_response", "from_stream", "lesson", "to_request"]

_RENAMED = {"dimensions": "outputDimensionality"}
_OF_THE_INSTANCE = {"taskType": "task_type", "title": "title", "mimeType": "mimeType"}

# Requests.


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request for one text, or for a list of them."""
    if call.stream:
        raise UnsupportedParameter("stream: vectors come in one piece", sent=False)
    action, body = _body(call, traits)
    body.update(call.extra_body)
    return HttpRequest(
        "POST",
        operation_url(call, action, endpoint, endpoint.query),
        to_headers(call, endpoint),
        json=body,
        content=to_bytes(body),
        connection=endpoint.connection,
        largest_body=LARGEST_ANSWER,
    )


def _body(call: WireCall, traits: Traits) -> tuple[str, dict[str, Any]]:
    """Choose the operation: Vertex has one for each generation of models, and one content a request in the newer."""
    contents = [_content(item, f"input[{place}]", call) for place, item in enumerate(inputs_of(call.input))]
    parameters = _parameters(call, traits)
    if traits.facts.platform == "vertex":
        if not embeds_content(call.model):
            return "predict", _instances(contents, parameters)
        return "embedContent", {"content": contents[0], **({"embedContentConfig": parameters} if parameters else {})}
    if not isinstance(call.input, list):
        return "embedContent", {"content": contents[0], **parameters}
    name = model_path(call.model)
    return "batchEmbedContents", {
        "requests": [{"model": name, "content": content, **parameters} for content in contents]
    }


def embeds_content(model: str) -> bool:
    """Tell whether Vertex serves a model over `:embedContent`, as its newer ones."""
    name = model.rpartition("/")[2]
    return "gemini" in name and name != "gemini-embedding-001"


def _content(item: Any, where: str, call: WireCall) -> dict[str, Any]:
    if isinstance(item, Mapping) and "parts" in item:
        return dict(item)
    if not isinstance(item, (str, list, Mapping)):
        raise BadRequest(f"{where}: must be text or parts of a content, not {type(item).__name__}", sent=False)
    if isinstance(item, Mapping) and "role" in item:
        raise BadRequest(f"{where}: must be text or parts of a content, not a message", sent=False)
    parts = to_parts(item, where, call.changes)
    if not parts:
        raise BadRequest(f"{where}: is empty, and nothing can be made of it", sent=False)
    return {"parts": parts}


def _instances(contents: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
    of_each = {name: parameters[field] for field, name in _OF_THE_INSTANCE.items() if field in parameters}
    of_all = {name: value for name, value in parameters.items() if name not in _OF_THE_INSTANCE}
    instances = [{"content": _only_text(content, place), **of_each} for place, content in enumerate(contents)]
    return {"instances": instances, "parameters": of_all} if of_all else {"instances": instances}


def _only_text(content: dict[str, Any], place: int) -> str:
    texts = [part.get("text") for part in content["parts"]]
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"input[{place}]: this model takes text only", sent=False)
    return "".join(texts)


def _parameters(call: WireCall, traits: Traits) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name, value in call.parameters.items():
        if value is None or (name == "encoding_format" and value == "float"):
            continue
        if name == "encoding_format":
            call.cannot(name, "Gemini gives vectors as numbers only")
        elif name in HINTS:
            call.changes.append(Change("dropped", name, HINTS[name]))
        elif camel(name) == "taskType" and traits.facts.get("embedding.task") == "prefix":
            reason = f"{call.model} reads the task out of the text, as in 'task: search result | query: …'"
            if not call.leaves_out(name, reason, ignored=True):
                written["taskType"] = value
        else:
            written[_RENAMED.get(name) or camel(name)] = value
    return written


# Replies.


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> EmbeddingReply:
    """Read the vectors; `InvalidResponse` where they are not one for each text."""
    with failures.told_of(body, headers):
        data = bodies.loads(body)
        if not isinstance(data, dict):
            raise InvalidResponse("the answer holds no embeddings")
        if failures.says_error(data):
            raise failures.refused(failures.read(data), 200)
        vectors = _vectors(data)
        wanted = wanted_length(call.parameters, "output_dimensionality")
        check_vectors(vectors, len(inputs_of(call.input)), wanted)
    written = {"object": "list", "data": listed(vectors), "model": call.model, **_cost(data)}
    reply = EmbeddingReply.model_validate(written)
    reply._raw = data
    reply.meta.request_id = failures.request_id_of(headers)
    if "usage" in reply.model_fields_set:
        reply.meta.usage = tokens_read(reply.usage)
    return reply


def _vectors(data: dict[str, Any]) -> list[Any]:
    """Find the vectors in the answer of any of the three operations."""
    predictions = data.get("predictions")
    if isinstance(predictions, list):
        found = [item.get("embeddings") if isinstance(item, dict) else None for item in predictions]
    elif isinstance(data.get("embeddings"), list):
        found = data["embeddings"]
    elif isinstance(data.get("embedding"), dict):
        found = [data["embedding"]]
    else:
        raise InvalidResponse("the answer holds no embeddings")
    return [item.get("values") if isinstance(item, dict) else None for item in found]


def _cost(data: dict[str, Any]) -> dict[str, Any]:
    counted = replies.usage(data.get("usageMetadata")) or replies.usage(_counted(data.get("predictions")))
    return {} if counted is None else {"usage": counted}


def _counted(predictions: Any) -> dict[str, Any] | None:
    """Sum what was counted of each text; None where nobody counted."""
    found = [item["embeddings"].get("statistics") for item in predictions or ()]
    counts = [replies.count(one, "token_count") for one in found if isinstance(one, dict) and "token_count" in one]
    return {"promptTokenCount": sum(counts)} if counts else None


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End
) -> AsyncGenerator[ChatChunk, None]:
    raise InvalidResponse("vectors come in one piece")
    yield  # makes this the generator that a codec gives
