"""What may be drawn, and how probable it is: as the library's own processors have it, also where numbers end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
import transformers

from modelwrap.local.transformers.sampling import Picker, Sampling, pick_all

pytestmark = pytest.mark.xdist_group("torch")


def scores_of(seed: int, size: int, spread: float = 5) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * spread


def by_the_library(scores: torch.Tensor, prompt: list[int], sampling: Sampling) -> torch.Tensor:
    """Give how probable each token is behind the processors that `generate` would take, in its order."""
    chosen = [transformers.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]
    chosen += [transformers.TemperatureLogitsWarper(sampling.temperature)]
    chosen += [transformers.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    chosen += [transformers.TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    chosen += [transformers.MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []
    left = transformers.LogitsProcessorList(chosen)(torch.tensor([prompt]), scores[None].clone())
    probabilities: torch.Tensor = left[0].softmax(0)
    return probabilities


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([3, 40, 700]),
    temperature=st.sampled_from([0.01, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 5, 50]),
    top_p=st.sampled_from([1.0, 0.999, 0.5, 1e-9]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    penalty=st.sampled_from([1.0, 1.3, 0.7]),
)
def test_tokens_are_drawn_from_those_that_the_library_leaves(
    seed: int, size: int, temperature: float, top_k: int, top_p: float, min_p: float, penalty: float
) -> None:
    scores, prompt = scores_of(seed, size), [0, 1, size - 1]
    sampling = Sampling(temperature, top_p, top_k, min_p, repetition_penalty=penalty, seed=seed)

    tokens = [Picker(sampling, prompt).pick(scores).token for _ in range(2)]

    probable = by_the_library(scores, prompt, sampling)
    assert tokens[0] == tokens[1]
    assert probable[tokens[0]] > 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), top_k=st.sampled_from([0, 3]), min_p=st.sampled_from([0.0, 0.2]))
def test_tokens_are_drawn_as_often_as_they_are_probable(seed: int, top_k: int, min_p: float) -> None:
    scores = scores_of(seed, 6, spread=1)
    sampling = Sampling(0.8, 0.95, top_k, min_p, seed=seed)
    picker, draws = Picker(sampling, []), 1000

    drawn = torch.tensor([picker.pick(scores).token for _ in range(draws)]).bincount(minlength=6) / draws

    assert (drawn - by_the_library(scores, [0], sampling)).abs().max() < 0.1


@pytest.mark.parametrize("temperature", [1e-10, 1e-38, 1e-40, 1e-300, 5e-324])
@pytest.mark.parametrize("top_p, top_k, min_p", [(1, 0, 0), (1, 50, 0), (0.9, 0, 0), (1, 0, 0.1)])
def test_next_to_no_temperature_leaves_the_likeliest(
    temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    scores = scores_of(1, 1000)

    drawn = {Picker(Sampling(temperature, top_p, top_k, min_p, seed=n), []).pick(scores).token for n in range(4)}

    assert drawn == {int(scores.argmax())}


def test_a_score_that_is_infinite_is_the_highest() -> None:
    scores = torch.tensor([[1.0, math.inf, 2.0, -math.inf]])

    picks = pick_all(scores.expand(3, -1), [Picker(Sampling(t, top_k=k), []) for t, k in ((0, 0), (1, 0), (1, 2))])

    assert [pick.token for pick in picks if not isinstance(pick, Exception)] == [1, 1, 1]


def test_a_seed_below_zero_is_another_than_that_above_it() -> None:
    def drawn(seed: int) -> list[int]:
        picker = Picker(Sampling(1.0, seed=seed), [])
        return [picker.pick(scores_of(2, 500, spread=1)).token for _ in range(4)]

    assert drawn(-1) != drawn(1)
    assert drawn(-1) == drawn(-1)
