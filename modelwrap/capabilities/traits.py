"""How one endpoint wants to be spoken to: the table's facts, a config's word over them, and what refusals taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelwrap.capabilities import table
from modelwrap.capabilities.facts import Facts
from modelwrap.capabilities.keys import LIKE, flat
from modelwrap.errors import ConfigError
from modelwrap.suggestions import nearest
from modelwrap.wire.urls import host_of


@dataclass(frozen=True, slots=True)
class Traits:
    """Say how one endpoint wants to be spoken to; learned from its refusals where no table knew."""

    token_limit: str = "as_written"
    """`max_tokens`, `max_completion_tokens`, or `as_written`: the name under which the limit goes out."""
    stream_usage: bool = True
    """Whether `stream_options.include_usage` is asked for."""
    replay_reasoning: bool = True
    """Whether reasoning stays on assistant messages that go back."""
    reasoning_field: str = ""
    """The one name under which reasoning goes back; empty where it goes back as it was written."""
    think_tags: bool = True
    """Whether a leading `<think>` in an answer is read as reasoning."""
    think_tag: str = ""
    """The name of another tag that a host uses for it; empty where it has none of its own."""
    responses: bool = False
    """Whether OpenAI's Responses are known to stand beside Chat Completions."""
    own_parts: str = ""
    """Whose parts on messages, under `extra_content`, may go back over Chat Completions; empty for nobody's."""
    strict: bool = False
    """Whether Chat Completions refuse what OpenAI's refuse: other letters in names, long ids, unknown fields."""
    drops_stale_thinking: bool = False
    """Whether the server is asked to leave out thinking whose conversation has changed since, where it can be."""
    system_apart: bool = True
    """Whether Gemini's API takes the system's text apart from the conversation."""
    facts: Facts = field(default_factory=Facts)
    """What the model accepts."""


def traits_for(
    model: str,
    base_url: str,
    *,
    provider: str | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Traits:
    """Look up what a model accepts at an address; of what no row names, nothing is known.

    `provider` is given by wires that only one has; otherwise the host tells it, or the preset that a config names for a
    server that may stand anywhere. `overrides` are facts of a config, over
    those of the table; `like` among them names the model whose row is taken.
    """
    host = table.host(host_of(base_url)) or (table.preset(preset) if preset else {})
    facts = _facts_for(model, provider or host.get("provider", ""), host, flat(overrides or {}))
    habits = {name: facts.get(f"wire.{name}") for name in _HABITS}
    name = facts.get("max_tokens_name")
    return Traits(
        token_limit=name if name in ("max_tokens", "max_completion_tokens") else "as_written",
        facts=facts,
        **{name: value for name, value in habits.items() if value is not None},
    )


_HABITS = (
    *("stream_usage", "replay_reasoning", "reasoning_field", "think_tags", "think_tag", "responses", "own_parts"),
    "strict",
)


def _facts_for(model: str, provider: str, host: Mapping[str, Any], overrides: dict[str, Any]) -> Facts:
    platform = host.get("platform", "")
    habits = flat(host.get("facts", {}))
    like = overrides.pop(LIKE, None)
    if like is not None:
        provider = _provider_of(like, provider, platform)
    if not provider:
        values = {**habits, **overrides}
        return Facts(model=model, stated=frozenset(overrides), values=_known(values)) if values else Facts()
    layers = table.layers(like or model, provider, platform)
    values = habits
    for layer in layers:
        values.update(flat(layer["facts"]))
    values.update(overrides)
    speaks = layers.family or layers.default or {}
    return Facts(
        model=model,
        provider=provider,
        platform=platform,
        kind=table.kind_of(layers.family) if layers.family else "",
        source=tuple(speaks.get("source", ())),
        as_of=speaks.get("as_of", ""),
        confidence=speaks.get("confidence", ""),
        stated=frozenset(overrides),
        values=_known(values),
        conditions=tuple(
            dict(condition, set=changes)
            for layer in layers
            for condition in layer.get("conditions", ())
            if (changes := flat({name: value for name, value in condition["set"].items() if name not in overrides}))
        ),
    )


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is said to be unknown."""
    return {name: value for name, value in values.items() if value is not None}


def _provider_of(like: str, provider: str, platform: str) -> str:
    """Find the provider that has a row for the model which a config names as its like."""
    asked = [provider] if provider else table.providers()
    for candidate in asked:
        if table.layers(like, candidate, platform).family:
            return candidate
    names = (name.rstrip("*") for candidate in asked for name in table.models(candidate))
    meant = nearest(like, names)
    raise ConfigError(
        f"capabilities.{LIKE}: no row of the capability table names {like!r}"
        + (f"; did you mean {meant!r}?" if meant else "")
    )
