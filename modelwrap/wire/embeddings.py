"""Vectors as every wire of embeddings must give them: one for each text, of one length, and made of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from modelwrap.errors import InvalidResponse


def check_vectors(vectors: Sequence[Any], texts: int, dimensions: int | None = None) -> None:
    """Raise `InvalidResponse` where the vectors are not those of so many texts; `dimensions` is what was asked for."""
    if len(vectors) != texts:
        raise InvalidResponse(f"embeddings: {texts} were to come, {len(vectors)} came")
    length = dimensions
    for place, vector in enumerate(vectors):
        if not isinstance(vector, list) or not vector:
            raise InvalidResponse(f"embeddings[{place}]: is no vector")
        length = len(vector) if length is None else length
        if len(vector) != length:
            raise InvalidResponse(f"embeddings[{place}]: has {len(vector)} dimensions, and {length} were to come")
        if not all(type(number) in (int, float) and isfinite(number) for number in vector):
            raise InvalidResponse(f"embeddings[{place}]: holds what is no number")
