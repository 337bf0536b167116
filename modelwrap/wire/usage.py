"""One algebra for the tokens that every server counts in its own way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelwrap.types import TokenUsage, Usage


def token_usage(usage: Usage) -> TokenUsage:
    """Read a usage so that prompt + completion = total, cached ≤ prompt and reasoning ≤ completion.

    Where the server's total is larger than its two parts (xAI, Gemini), the rest was thought and not counted as
    completion: it is added there.
    """
    extra: dict[str, Any] = usage.__pydantic_extra__ or {}
    in_prompt = usage.prompt_tokens_details
    in_completion = usage.completion_tokens_details
    prompt = max(usage.prompt_tokens, 0) or _first(extra.get("input_tokens"))
    completion = max(usage.completion_tokens, 0) or _first(extra.get("output_tokens"))
    if not extra and in_prompt is None and in_completion is None and usage.total_tokens == prompt + completion:
        # Every call of a small server comes by here.
        return TokenUsage(prompt, completion)
    prompt_extra = (in_prompt.__pydantic_extra__ if in_prompt else None) or {}
    reasoning = _first(in_completion and in_completion.reasoning_tokens, extra.get("reasoning_tokens"))
    uncounted = usage.total_tokens - prompt - completion
    if uncounted > 0:
        completion += uncounted
    elif usage.total_tokens <= 0 and reasoning > completion:
        completion += reasoning
    cached = _first(
        in_prompt and in_prompt.cached_tokens,
        extra.get("prompt_cache_hit_tokens"),
        extra.get("cached_tokens"),
        extra.get("cache_read_input_tokens"),
        extra.get("num_cached_tokens"),
    )
    cache_write = _first(
        in_prompt and in_prompt.cache_write_tokens,
        prompt_extra.get("cache_creation_tokens"),
        extra.get("cache_write_tokens"),
        extra.get("cache_creation_input_tokens"),
    )
    return TokenUsage(
        prompt=prompt,
        completion=completion,
        cached=min(cached, prompt),
        cache_write=min(cache_write, prompt),
        reasoning=min(reasoning, completion),
    )


def tokens_read(usage: Usage) -> TokenUsage:
    """Read what vectors cost: what a server counts in its total alone (Voyage) was read, for nothing is written."""
    counted = token_usage(usage)
    written = min(max(usage.completion_tokens, 0), counted.total)
    return replace(counted, prompt=counted.total - written, completion=written)


def _first(*counts: Any) -> int:
    """Take the first count that is one; servers that have several names for it fill the others with 0 or null."""
    for count in counts:
        if isinstance(count, (int, float)) and 0 < count < float("inf"):
            return int(count)
    return 0
