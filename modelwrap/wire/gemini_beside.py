"""What a candidate of Gemini's says beside its text: kept as it came, and cited where sources bear the text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelwrap.wire.gemini_replies import count

# What a candidate holds that has a place of its own in OpenAI's shape.
_PLACED = frozenset({"content", "finishReason", "index", "logprobsResult"})
# Lists of which each piece of a stream holds what is new; all others come whole.
_GATHERED = frozenset({"citations", "citationSources", "urlMetadata", "webSearchQueries"})

# https://ai.google.dev/api/generate-content#GroundingChunk
_SOURCES = ("web", "maps", "retrievedContext", "image")


def candidate_extra(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a candidate says that OpenAI's shape has no place for."""
    return {name: value for name, value in candidate.items() if name not in _PLACED and value is not None}


def extended(before: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Add what a later piece says beside its text; what it leaves empty stays as it was."""
    return {**before, **{name: _extended(name, before.get(name), value) for name, value in later.items()}}


def _extended(name: str, before: Any, value: Any) -> Any:
    if before is not None and value in (None, {}, []):
        return before
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        return extended(before, value)
    if name in _GATHERED and isinstance(before, list) and isinstance(value, list):
        return [*before, *(item for item in value if item not in before)]
    return value


def joined(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Put together what two requests of one answer say beside its text."""
    both = extended(before, after)
    first, second = before.get("groundingMetadata"), after.get("groundingMetadata")
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        both["groundingMetadata"] = _joined_grounding(first, second)
    return both


def citations(candidate: Mapping[str, Any], said: str) -> list[dict[str, Any]]:
    """Give the sources that an answer rests on, at the places in the text that rest on them."""
    grounding = candidate.get("groundingMetadata")
    if not isinstance(grounding, Mapping):
        return []
    chunks = _listed(grounding, "groundingChunks")
    return [
        {"type": "url_citation", "url_citation": citation}
        for support in _listed(grounding, "groundingSupports")
        if isinstance(support, Mapping)
        for citation in _of_support(support, chunks, said)
    ]


def _of_support(support: Mapping[str, Any], chunks: list[Any], said: str) -> Iterator[dict[str, Any]]:
    start, end = _place(support.get("segment"), said)
    for number in _listed(support, "groundingChunkIndices"):
        chunk = chunks[number] if isinstance(number, int) and 0 <= number < len(chunks) else None
        source = _source(chunk) if isinstance(chunk, Mapping) else {}
        if url := source.get("uri") or source.get("sourceUri"):
            yield {"url": url, "title": source.get("title") or "", "start_index": start, "end_index": end}


def _source(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((chunk[kind] for kind in _SOURCES if isinstance(chunk.get(kind), Mapping)), {})


def _place(segment: Any, said: str) -> tuple[int, int]:
    """Find a segment, whose places count bytes of one part, among the characters of the whole text."""
    if not isinstance(segment, Mapping):
        return 0, len(said)
    text = str(segment.get("text") or "")
    start, end = count(segment, "startIndex"), count(segment, "endIndex")
    data = said.encode("utf-8", "surrogatepass")
    if data[start:end] == text.encode("utf-8", "surrogatepass"):
        first = len(data[:start].decode("utf-8", "replace"))
        return first, first + len(text)
    found = said.find(text) if text else -1
    return (found, found + len(text)) if found >= 0 else (0, len(said))


def _joined_grounding(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Number the sources of both through; what the second says of the first over again stands there once."""
    both = extended(first, second)
    chunks, more = _listed(first, "groundingChunks"), _listed(second, "groundingChunks")
    if more[: len(chunks)] != chunks:
        supports = [_shifted(support, len(chunks)) for support in _listed(second, "groundingSupports")]
        both["groundingChunks"] = [*chunks, *more]
        both["groundingSupports"] = [*_listed(first, "groundingSupports"), *supports]
    return both


def _shifted(support: Any, by: int) -> Any:
    if not isinstance(support, Mapping):
        return support
    numbers = [number + by if type(number) is int else number for number in _listed(support, "groundingChunkIndices")]
    return {**support, "groundingChunkIndices": numbers}


def _listed(holder: Mapping[str, Any], name: str) -> list[Any]:
    found = holder.get(name)
    return found if isinstance(found, list) else []
