"""Where services put what they answer: texts, images, vectors and counts, found in any of their shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON
from modelwrap.wire.places import Place, at

# OpenAI's own shape, alone or inside the answer of a server of AgentScope's or DashScope's.
_OPENAI_PLACES: tuple[Place, ...] = ((), ("data", "response"), ("response",), ("data",), ("output",))

# Inference APIs of Hugging Face and ModelScope, Ollama's, scripts of colleagues.
_TEXT_PLACES: tuple[Place, ...] = (
    ("generated_text",),
    ("summary_text",),
    ("translation_text",),
    ("message", "content"),
    ("response",),
    ("text",),
    ("result",),
    ("output",),
    ("answer",),
    ("content",),
    ("reply",),
    ("completion",),
    ("generation",),
    ("text_output",),
    ("data",),
)
# Objects around an answer: AgentScope's, ModelScope's, DashScope's, Cloudflare's, and those of many gateways.
_ENVELOPES = ("data", "Data", "result", "output")
# Where several answers stand in a list: vLLM's demo server, KoboldCpp, servers of TensorFlow's kind.
_LIST_PLACES = ("text", "data", "results", "outputs", "predictions")
_REASON_PLACES: tuple[Place, ...] = (
    ("details", "finish_reason"),
    ("meta_info", "finish_reason", "type"),
    ("done_reason",),
    ("finish_reason",),
    ("stop_type",),
)
_IMAGE_PLACES: tuple[Place, ...] = (
    ("data", "response", "data"),
    ("data",),
    ("images",),
    ("output", "results"),
    ("output",),
)
_VECTOR_PLACES: tuple[Place, ...] = (
    ("data", "response", "data"),
    ("data",),
    ("embeddings",),
    ("embeddings", "float"),
    ("embedding",),
    ("output", "embeddings"),
    ("result", "data"),
    ("result",),
    ("predictions",),
)
_USAGE_PLACES: tuple[Place, ...] = (
    ("usage",),
    ("usage", "tokens"),
    ("meta", "tokens"),
    ("meta", "billed_units"),
    ("meta_info",),
    ("metadata", "usage"),
    ("data", "response", "usage"),
    ("data", "usage"),
    ("result", "usage"),
    ("data",),
    (),
)

# How services call the two counts.
_COUNTS = (
    ("prompt_tokens", "completion_tokens"),
    ("input_tokens", "output_tokens"),
    ("input_tokens", "tokens"),
    ("prompt_eval_count", "eval_count"),
    ("tokens_evaluated", "tokens_predicted"),
    ("input_token_count", "generated_token_count"),
)


def chat_in(raw: JSON) -> dict[str, Any] | None:
    """Give an answer in OpenAI's shape, whatever its own; None where no text is found in it."""
    for place in _OPENAI_PLACES:
        found = at(raw, place) if place else raw
        if isinstance(found, dict) and isinstance(found.get("choices"), list):
            return _with_usage(found, raw)
    choice = _choice(raw)
    choices = _choices(raw) if choice is None else [choice]
    return _chat(choices, raw) if choices else None


def _choices(raw: JSON) -> list[dict[str, Any]]:
    """Give the answers of a list, if all of its items are; a list around it is what a list of prompts makes."""
    if isinstance(raw, dict):
        return next(filter(None, (_choices(raw[name]) for name in _LIST_PLACES if isinstance(raw.get(name), list))), [])
    if not isinstance(raw, list):
        return []
    if raw and all(isinstance(item, list) for item in raw):
        raw = [item for inner in raw for item in inner]
    choices = [choice for item in raw if (choice := _choice(item)) is not None]
    return choices if len(choices) == len(raw) else []


def chat_of(text: str, raw: JSON = None) -> dict[str, Any]:
    """Give a text in OpenAI's shape, with what the answer around it says of its end and its cost."""
    return _chat([{"message": {"role": "assistant", "content": text}, **reason_in(raw)}], raw)


def text_of(found: JSON) -> str | None:
    """Read what stands where a text should: pieces of one, in a list, are put together, and a number is written out."""
    if isinstance(found, str):
        return found
    if isinstance(found, list) and found and all(isinstance(piece, str) for piece in found):
        return "".join(found)
    return json.dumps(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def usage_in(raw: JSON) -> dict[str, int] | None:
    """Find how many tokens an answer cost."""
    for place in _USAGE_PLACES:
        found = at(raw, place) if place else raw
        if counts := counts_in(found):
            return counts
    return _length_of_texts(raw)


def counts_in(found: JSON) -> dict[str, int] | None:
    """Read an object of counts, under any of the names that they have."""
    if not isinstance(found, dict):
        return None
    pairs = [(found.get(prompt), found.get(completion)) for prompt, completion in _COUNTS]
    for enough in (all, any):
        for pair in pairs:
            if enough(map(_is_count, pair)):
                return _usage(*pair, found.get("total_tokens"))
    total = found.get("total_tokens")
    return _usage(None, None, total) if _is_count(total) else None


def images_in(raw: JSON, *, surely: bool = False) -> list[dict[str, str]] | None:
    """Find images, each by its `url` or as `b64_json`; with `surely` also right here, and in plain texts."""
    for place in ((), *_IMAGE_PLACES) if surely else _IMAGE_PLACES:
        found = at(raw, place)
        items = found if isinstance(found, list) else [found]
        images = [image for item in items if (image := _image(item, surely=surely)) is not None]
        if images and len(images) == len(items):
            return images
    return None


def vectors_in(raw: JSON) -> JSON:
    """Find what holds the vectors of an answer; None where nothing does."""
    if isinstance(raw, list):
        return [_vector(item) for item in raw]
    for place in _VECTOR_PLACES:
        found = at(raw, place)
        if isinstance(found, list) and found:
            return [_vector(item) for item in _in_order(found)]
    return None


def one_vector_each(found: list[Any], texts: int | None, pooling: str) -> list[list[float]]:
    """Give a vector for each text; those of its tokens are made one, where the config says how.

    `texts` is None for a single text that went out without a list around it.
    """
    if found and not isinstance(found[0], list):
        return [found]
    if texts is not None:
        return [_pooled(item, pooling) for item in found]
    return [_pooled(found[0] if len(found) == 1 else found, pooling)]


def _pooled(found: Any, pooling: str) -> list[float]:
    """Make the vectors of a text's tokens one; a list of one of them around it is taken off."""
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    if not (isinstance(found, list) and found and isinstance(found[0], list)):
        vector: list[float] = found
        return vector
    if pooling == "none":
        raise InvalidResponse('the service gives a vector for each token; "pooling" says how they become one')
    if pooling == "first":
        return _pooled(found[0], pooling)
    try:
        return [sum(numbers) / len(found) for numbers in zip(*found, strict=True)]
    except (TypeError, ValueError):
        raise InvalidResponse("the vectors of the tokens are of several lengths, or no numbers") from None


def reason_in(item: JSON) -> dict[str, str]:
    """Read why an answer ended, in the form of a choice's field; empty where it does not say so."""
    found = next((found for place in _REASON_PLACES if isinstance(found := at(item, place), str)), None)
    # DashScope's word for "not yet".
    return {} if found in (None, "null") else {"finish_reason": found}


def _choice(item: JSON) -> dict[str, Any] | None:
    if isinstance(item, str):
        return {"message": {"role": "assistant", "content": item}}
    message = at(item, ("message",)) or _last_message(at(item, ("generated_text",)))
    if isinstance(message, dict) and isinstance(message.get("content"), (str, list)):
        return {"message": _message(message), **reason_in(item)}
    text = next((found for place in _TEXT_PLACES if isinstance(found := at(item, place), str)), None)
    if text is None:
        return _choice_inside(item)
    thought = at(item, ("thinking",))
    reasoning = {"reasoning_content": thought} if isinstance(thought, str) and thought else {}
    return {"message": {"role": "assistant", "content": text, **reasoning}, **reason_in(item)}


def _choice_inside(item: JSON) -> dict[str, Any] | None:
    """Read the answer in an object around it, or as Replicate gives a text, in a list of its pieces."""
    inner = (found for name in _ENVELOPES if isinstance(found := at(item, (name,)), dict))
    pieces = at(item, ("output",))
    text = text_of(pieces) if isinstance(pieces, list) else None
    found = next(filter(_answers, map(_choice, inner)), None if text is None else _choice(text))
    return None if found is None else {**reason_in(item), **found}


def _answers(choice: dict[str, Any] | None) -> bool:
    """Tell whether this is an answer, and no empty place that a job is to fill."""
    return choice is not None and bool(choice["message"].get("content") or "finish_reason" in choice)


def _last_message(found: JSON) -> JSON:
    """Give the answer out of a conversation, which transformers' pipelines give as a whole."""
    return found[-1] if isinstance(found, list) and found else None


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Name in a message of Ollama's what it thought as everybody does."""
    told = {name: value for name, value in message.items() if name != "thinking"}
    return {**told, "reasoning_content": message["thinking"]} if message.get("thinking") else told


def _chat(choices: list[dict[str, Any]], raw: JSON) -> dict[str, Any]:
    known = {"model": raw["model"]} if isinstance(raw, dict) and isinstance(raw.get("model"), str) else {}
    numbered = [{"index": position, **choice} for position, choice in enumerate(choices)]
    return _with_usage({"object": "chat.completion", **known, "choices": numbered}, raw)


def _with_usage(chat: dict[str, Any], raw: JSON) -> dict[str, Any]:
    if isinstance(chat.get("usage"), dict):
        return chat
    usage = usage_in(raw)
    return chat if usage is None else {**chat, "usage": usage}


def _length_of_texts(raw: JSON) -> dict[str, int] | None:
    """Read counts that stand beside texts; those of AgentScope's first servers count the prompt with the answer."""
    whole, prompt = at(raw, ("n_token_response",)), at(raw, ("n_token_prompt",))
    if _is_count(whole) and _is_count(prompt):
        return _usage(prompt, max(whole - prompt, 0), None)
    details = [found for item in (raw if isinstance(raw, list) else [raw]) if (found := at(item, ("details",)))]
    generated = [count for found in details if _is_count(count := at(found, ("generated_tokens",)))]
    if not generated:
        return None
    read = at(details[0], ("prefill",))
    return _usage(len(read) if isinstance(read, list) else 0, sum(generated), None)


def _usage(prompt: Any, completion: Any, total: Any) -> dict[str, int]:
    prompt, completion = prompt if _is_count(prompt) else 0, completion if _is_count(completion) else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total if _is_count(total) else prompt + completion,
    }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _image(item: JSON, *, surely: bool) -> dict[str, str] | None:
    if isinstance(item, str) and surely:
        return {"url": item} if item.startswith(("http://", "https://", "data:")) else {"b64_json": item}
    if not isinstance(item, dict):
        return None
    for name, called in (("url", "url"), ("image_url", "url"), ("b64_json", "b64_json"), ("b64_image", "b64_json")):
        if isinstance(item.get(name), str):
            return {called: item[name]}
    return None


def _vector(item: JSON) -> JSON:
    if not isinstance(item, dict):
        return item
    # The last are Vertex's.
    named = (at(item, place) for place in (("embedding",), ("values",), ("embeddings", "values")))
    return next((found for found in named if found is not None), None)


def _in_order(found: Iterable[Any]) -> list[Any]:
    items = list(found)
    if all(isinstance(item, dict) and _is_count(item.get("index")) for item in items):
        return sorted(items, key=lambda item: item["index"])
    return items


def as_bytes(value: JSON) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
