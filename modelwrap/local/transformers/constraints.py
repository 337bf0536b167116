"""Answers bound to a JSON schema or a regular expression while they are written, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from modelwrap.errors import BadRequest, InvalidResponse, MissingPackage
from modelwrap.types import JSON

# Where white space is free, small models write nothing else.
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# What `true` says in the words of an object, which alone the layout can be laid over.
_ANYTHING: JSON = {}


class Constraint:
    """Know which tokens may follow those of one answer."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self, size: int) -> Tensor:
        """Mark the tokens that may come next, in a vocabulary of `size`."""
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        allowed = bits.flatten()[:size].bool()
        if len(allowed) < size:
            # Models often have more rows than their tokenizers have tokens.
            allowed = torch.cat([allowed, torch.zeros(size - len(allowed), dtype=torch.bool)])
        if not allowed.any():
            raise InvalidResponse(f"nothing can follow what was written so far: {self._matcher.get_error()}")
        return allowed

    def accept(self, token: int) -> None:
        """Take the next token of the answer."""
        if not self._matcher.consume_token(token):
            raise InvalidResponse(f"the answer does not keep to its form: {self._matcher.get_error()}")

    @property
    def ended(self) -> bool:
        """Whether the answer is whole, and nothing can be added to it."""
        return bool(self._matcher.is_stopped())


class Grammars:
    """Make constraints for the answers of one model."""

    def __init__(self, vocabulary: Any, package: Any) -> None:
        self._vocabulary = vocabulary
        self._package = package

    @classmethod
    def of(cls, tokenizer: Any, size: int, ends: Sequence[int]) -> Self:
        """Read a tokenizer, which takes a moment; `size` is the model's vocabulary, `ends` what ends its answers."""
        try:
            import llguidance
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise MissingPackage(
                'response_format of transformers models needs llguidance: pip install "modelwrap[transformers]"'
            ) from error
        try:
            vocabulary = from_tokenizer(tokenizer, n_vocab=max(size, len(tokenizer)), eos_token=list(ends) or None)
        except ValueError as error:
            raise BadRequest(
                f"response_format: answers of this tokenizer cannot be bound to a form: {error}", sent=False
            ) from None
        return cls(vocabulary, llguidance)

    def json_schema(self, schema: JSON) -> Constraint:
        """Bind an answer to a schema; `true` and `{}` take any JSON."""
        try:
            written = json.dumps(_ANYTHING if schema is True else schema)
            text = self._package.LLMatcher.grammar_from_json_schema(written, overrides=_LAYOUT)
        except ValueError as error:
            raise _unreadable(error) from None
        return self._constraint(text)

    def regex(self, pattern: str) -> Constraint:
        """Bind an answer to a regular expression, which has to fit the whole of it."""
        try:
            pattern.encode()
        except UnicodeEncodeError as error:
            raise _unreadable(error) from None
        return self._constraint(self._package.LLMatcher.grammar_from_regex(pattern))

    def _constraint(self, grammar: str) -> Constraint:
        matcher = self._package.LLMatcher(self._vocabulary, grammar, log_level=0)
        if matcher.is_error():
            raise _unreadable(matcher.get_error())
        return Constraint(matcher)


def _unreadable(why: object) -> BadRequest:
    return BadRequest(f"response_format: cannot be kept to: {why}", sent=False)
