"""Vectors as every wire of embeddings must give them: one for each text, of one length, and made of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from modelwrap.errors import BadRequest, InvalidResponse
from modelwrap.types import JSON, EmbeddingReply
from modelwrap.wire.usage import tokens_read

# Two thousand vectors of three thousand numbers, written out.
LARGEST_ANSWER = 256 * 2**20

_NUMBERS = {int, float}


def inputs_of(given: Any) -> list[Any]:
    """Give what is to be embedded as a list; `BadRequest` where there is nothing."""
    inputs = given if isinstance(given, list) else [given]
    if not inputs:
        raise BadRequest("input: the list is empty; give at least one text", sent=False)
    return inputs


def wanted_length(parameters: Mapping[str, Any], *names: str) -> int | None:
    """Give the number of dimensions that a call asks for."""
    asked = (parameters.get(name) for name in ("dimensions", *names))
    return next((length for length in asked if type(length) is int), None)


def check_count(found: Sequence[Any], texts: int) -> None:
    if len(found) != texts:
        raise InvalidResponse(f"embeddings: {texts} were to come, {len(found)} came")


def check_vectors(vectors: Sequence[Any], texts: int, dimensions: int | None = None) -> None:
    """Raise `InvalidResponse` where the vectors are not those of so many texts; `dimensions` is what was asked for."""
    check_count(vectors, texts)
    length = dimensions
    for place, vector in enumerate(vectors):
        if not isinstance(vector, list) or not vector:
            raise InvalidResponse(f"embeddings[{place}]: is no vector")
        length = len(vector) if length is None else length
        if len(vector) != length:
            raise InvalidResponse(f"embeddings[{place}]: has {len(vector)} dimensions, and {length} were to come")
        if not _all_numbers(vector):
            raise InvalidResponse(f"embeddings[{place}]: holds what is no number")


def _all_numbers(vector: list[Any]) -> bool:
    kinds = set(map(type, vector))
    if kinds == {float} and isfinite(sum(vector)):
        # Any that is none would have made the sum so, and this takes a quarter of the time.
        return True
    try:
        return kinds <= _NUMBERS and all(map(isfinite, vector))
    except OverflowError:  # a whole number beyond all floats
        return False


def batches(inputs: Sequence[Any], most: int, sizes: Sequence[int] = (), most_in_all: int | None = None) -> list[Any]:
    """Split inputs into lists of at most `most`, whose sizes come to no more than `most_in_all` where that is known.

    >>> batches("abcde", 2)
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    return list(_split(inputs, most, sizes or [0] * len(inputs), most_in_all))


def _split(inputs: Sequence[Any], most: int, sizes: Sequence[int], most_in_all: int | None) -> Iterator[list[Any]]:
    batch: list[Any] = []
    total = 0
    for one, size in zip(inputs, sizes, strict=True):
        if batch and (len(batch) >= most or (most_in_all is not None and total + size > most_in_all)):
            yield batch
            batch, total = [], 0
        batch.append(one)
        total += size
    if batch:
        yield batch


def joined(parts: Sequence[EmbeddingReply]) -> EmbeddingReply:
    """Put the vectors of several requests together, in the order of the requests, and sum what they cost."""
    if len(parts) == 1:
        return parts[0]
    vectors = [vector for part in parts for vector in part.embeddings]
    data = {**parts[0].model_dump(exclude={"data", "usage"}), "data": listed(vectors)}
    if all("usage" in part.model_fields_set for part in parts):
        data["usage"] = _summed([part.usage.model_dump() for part in parts])
    reply = EmbeddingReply.model_validate(data)
    reply._raw = [part.raw for part in parts]
    reply.meta.request_id = parts[-1].meta.request_id
    if "usage" in data:
        reply.meta.usage = tokens_read(reply.usage)
    return reply


def listed(vectors: Sequence[Any]) -> list[dict[str, Any]]:
    """Give vectors as the items of OpenAI's list."""
    return [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]


def _summed(usages: Sequence[JSON]) -> JSON:
    """Add up what is counted, whatever else a provider counts beside tokens; of all else the last word counts."""
    last = usages[-1]
    if isinstance(last, dict):
        holders = [usage for usage in usages if isinstance(usage, dict)]
        names = dict.fromkeys(name for usage in holders for name in usage)
        return {name: _summed([usage[name] for usage in holders if name in usage]) for name in names}
    counts = [usage for usage in usages if type(usage) in _NUMBERS]
    return sum(counts) if type(last) in _NUMBERS else last
