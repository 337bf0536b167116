"""How the next token of each row is picked from what the model thinks of every token."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from modelwrap.errors import InvalidResponse
from modelwrap.local.transformers.constraints import Constraint

# Sorting a whole vocabulary takes longer than a step of a small model; nearly always the likeliest few are enough.
_FEW = 512


@dataclass(frozen=True, slots=True)
class Sampling:
    """Say how tokens are picked."""

    temperature: float = 0.0
    """0 takes the likeliest."""
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    """Divides the scores of whatever stood in the prompt or the answer; what an encoder reads is no such prompt."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: int | None = None
    """How many alternatives are told beside the probability of what was picked; None tells neither."""

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is all that matters."""
        return (
            self.temperature == 0
            and self.logprobs is None
            and not self.logit_bias
            and self.repetition_penalty == 1
            and self.presence_penalty == 0
            and self.frequency_penalty == 0
        )


@dataclass(frozen=True, slots=True)
class Closing:
    """Have an answer that comes to its limit end with one of some tokens, whatever the model thinks."""

    most: int
    """How many tokens it may have."""
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class Pick:
    """Be a token that was picked; probabilities are the model's own, before anything was done to them."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Picker:
    """Pick the tokens of one row, of which some may have been picked before."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        picked: Sequence[int] = (),
        constraint: Constraint | None = None,
        closing: Closing | None = None,
    ) -> None:
        self._sampling = sampling
        self._constraint = constraint
        self._closing = closing
        # The generator would take a seed below 0 for the same one above it.
        self._random = random.Random(None if sampling.seed is None else sampling.seed % 2**64)
        self._made = 0
        self._counts = Counter[int]()
        self._seen = set(prompt) if sampling.repetition_penalty != 1 else set[int]()
        self._plain = sampling.plain and constraint is None
        for token in picked:
            if sampling.temperature > 0:
                self._random.random()
            self._note(token)

    @property
    def plain(self) -> bool:
        """Whether the next token is simply the likeliest."""
        return self._plain and not self._closes

    @property
    def _closes(self) -> bool:
        return self._closing is not None and self._made == self._closing.most - 1

    def pick(self, scores: Tensor) -> Pick:
        """Pick from the scores of every token, which stay as they are."""
        scores = scores.float()
        adjusted = self._closed(scores) if self._closes else self._adjusted(scores)
        token = self._drawn(adjusted) if self._sampling.temperature > 0 else int(adjusted.argmax())
        self._note(token)
        if self._sampling.logprobs is None:
            return Pick(token)
        return _told(scores, token, self._sampling.logprobs)

    def take(self, token: int) -> Pick:
        """Take the likeliest token, where that is all that matters."""
        self._made += 1
        return Pick(token)

    def _note(self, token: int) -> None:
        self._made += 1
        self._counts[token] += 1
        self._seen.add(token)
        if self._constraint is not None:
            self._constraint.accept(token)

    def _adjusted(self, scores: Tensor) -> Tensor:
        settings = self._sampling
        if self._plain or not (self._constraint or settings.logit_bias or self._penalises()):
            return scores
        scores = scores.clone()
        if settings.repetition_penalty != 1:
            seen = torch.tensor(sorted(self._seen), device=scores.device)
            old = scores[seen]
            scores[seen] = torch.where(old < 0, old * settings.repetition_penalty, old / settings.repetition_penalty)
        if self._counts and (settings.presence_penalty or settings.frequency_penalty):
            said = torch.tensor(list(self._counts), device=scores.device)
            often = torch.tensor(list(self._counts.values()), device=scores.device, dtype=scores.dtype)
            scores[said] -= settings.presence_penalty + settings.frequency_penalty * often
        for token, bias in settings.logit_bias.items():
            scores[token] += bias
        if self._constraint is not None:
            scores.masked_fill_(~self._constraint.allowed(len(scores)).to(scores.device), -torch.inf)
        return scores

    def _closed(self, scores: Tensor) -> Tensor:
        assert self._closing is not None
        closed = torch.full_like(scores, -torch.inf)
        closed[list(self._closing.tokens)] = 0
        return closed

    def _penalises(self) -> bool:
        settings = self._sampling
        return bool(settings.repetition_penalty != 1 or settings.presence_penalty or settings.frequency_penalty)

    def _drawn(self, scores: Tensor) -> int:
        """Draw by where one random number falls among the probabilities, in the order of the vocabulary.

        So a hair's breadth between two computations of the same scores moves a border by a hair's breadth only.
        """
        tokens, probabilities = self._candidates(scores / self._sampling.temperature)
        sums = probabilities.double().cumsum(0)
        chance, whole = self._random.random(), float(sums[-1])
        if not math.isfinite(whole):
            # Infinite scores, or those that a temperature next to nothing makes so, leave the highest only.
            return int(scores.argmax())
        place = int(torch.searchsorted(sums, chance * whole, right=True))
        place = min(place, len(sums) - 1)
        return place if tokens is None else int(tokens[place])

    def _candidates(self, scores: Tensor) -> tuple[Tensor | None, Tensor]:
        """Give what may be drawn and how probable it is; None for the tokens stands for all of them."""
        settings = self._sampling
        size = len(scores)
        few = min(settings.top_k, size) if settings.top_k > 0 else size
        if few == size and settings.top_p >= 1 and settings.min_p <= 0:
            return None, scores.softmax(0)
        # The sum over all that top_k leaves, which is what top_p and min_p are parts of.
        if few < size:
            kept, tokens = scores.topk(few)
            whole = kept.logsumexp(0)
        else:
            whole = scores.logsumexp(0)
            kept, tokens = scores.topk(min(_FEW, size))
            if not _suffices(kept, whole, settings) and len(kept) < size:
                kept, tokens = scores.sort(descending=True)
        probabilities = (kept - whole).exp()
        keep = torch.ones_like(probabilities, dtype=torch.bool)
        if settings.top_p < 1:
            # What is kept reaches top_p with its last token.
            keep &= probabilities.cumsum(0) - probabilities < settings.top_p
        if settings.min_p > 0:
            keep &= probabilities >= settings.min_p * probabilities[0]
        keep[0] = True
        tokens, order = tokens[keep].sort()
        return tokens, probabilities[keep][order]


def pick_all(scores: Tensor, pickers: Sequence[Picker]) -> list[Pick | Exception]:
    """Pick a token for each row of scores; where none can be, say why."""
    heights, likeliest = scores.max(-1)
    return [
        picker.take(token) if picker.plain and height == height else _picked(picker, row)
        for height, token, picker, row in zip(heights.tolist(), likeliest.tolist(), pickers, scores, strict=True)
    ]


def _picked(picker: Picker, scores: Tensor) -> Pick | Exception:
    try:
        if scores.isnan().any():
            raise InvalidResponse("the model computed something that is no number; another dtype may help")
        return picker.pick(scores)
    except Exception as error:  # the other rows of the step have their tokens already
        return error


def _suffices(kept: Tensor, whole: Tensor, settings: Sampling) -> bool:
    """Tell whether what is left out could not be drawn either way."""
    probabilities = (kept - whole).exp()
    by_mass = settings.top_p < 1 and float(probabilities.sum()) >= settings.top_p
    by_height = settings.min_p > 0 and float(probabilities[-1]) < settings.min_p * float(probabilities[0])
    return by_mass or by_height


def _told(scores: Tensor, token: int, alternatives: int) -> Pick:
    logprobs = scores - scores.logsumexp(0)
    values, tokens = logprobs.topk(min(alternatives, len(logprobs)))
    top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
    return Pick(token, float(logprobs[token]), top)
