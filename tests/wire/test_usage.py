from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwrap.types import TokenUsage, Usage
from modelwrap.wire.usage import token_usage, tokens_read

count = st.none() | st.integers(-5, 2000)
details = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens"]), count
)
usages = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(-5, 2000), "completion_tokens": st.integers(-5, 2000)},
    optional={
        "total_tokens": st.integers(-5, 6000),
        "prompt_tokens_details": details,
        "completion_tokens_details": details,
        "prompt_cache_hit_tokens": count,
        "cached_tokens": count | st.just("many"),
        "cache_creation_input_tokens": count,
        "reasoning_tokens": count,
    },
)


@given(usages)
def test_algebra_holds_whatever_was_sent(sent: dict[str, Any]) -> None:
    usage = token_usage(Usage.model_validate(sent))

    assert usage.prompt + usage.completion == usage.total
    assert 0 <= usage.cached <= usage.prompt
    assert 0 <= usage.cache_write <= usage.prompt
    assert 0 <= usage.reasoning <= usage.completion


@pytest.mark.parametrize(
    "sent, expected",
    [
        (
            {
                "prompt_tokens": 90,
                "completion_tokens": 30,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            TokenUsage(prompt=90, completion=30, cached=64, cache_write=8, reasoning=20),
        ),
        # DeepSeek
        (
            {"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120, "prompt_cache_hit_tokens": 64},
            TokenUsage(prompt=90, completion=30, cached=64),
        ),
        # Moonshot
        (
            {"prompt_tokens": 9, "completion_tokens": 3, "cached_tokens": 4},
            TokenUsage(prompt=9, completion=3, cached=4),
        ),
        # Claude behind a gateway
        (
            {
                "prompt_tokens": 90,
                "completion_tokens": 30,
                "prompt_tokens_details": {"cached_tokens": 0},
                "cache_read_input_tokens": 50,
                "cache_creation_input_tokens": 20,
            },
            TokenUsage(prompt=90, completion=30, cached=50, cache_write=20),
        ),
        # xAI counts reasoning beside the completion.
        (
            {
                "prompt_tokens": 90,
                "completion_tokens": 30,
                "total_tokens": 220,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
            TokenUsage(prompt=90, completion=130, reasoning=100),
        ),
        # Gemini counts it in the total alone.
        ({"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": 100}, TokenUsage(prompt=66, completion=34)),
        # Without a total, reasoning that exceeds the completion cannot be within it.
        (
            {"prompt_tokens": 9, "completion_tokens": 3, "reasoning_tokens": 7},
            TokenUsage(prompt=9, completion=10, reasoning=7),
        ),
    ],
)
def test_counts_are_read_under_every_name(sent: dict[str, Any], expected: TokenUsage) -> None:
    assert token_usage(Usage.model_validate(sent)) == expected


@pytest.mark.parametrize(
    "usage, prompt, completion",
    [
        ({"total_tokens": 5}, 5, 0),
        ({"prompt_tokens": 5, "total_tokens": 5}, 5, 0),
        ({"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}, 5, 0),
        ({"prompt_tokens": 5}, 5, 0),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, 3, 2),
        ({}, 0, 0),
    ],
)
def test_what_vectors_cost_was_read(usage: dict[str, int], prompt: int, completion: int) -> None:
    counted = tokens_read(Usage.model_validate(usage))

    assert (counted.prompt, counted.completion) == (prompt, completion)
