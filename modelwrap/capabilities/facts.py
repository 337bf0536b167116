"""What is known of one model: asked by key, and under the conditions of a finished request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from modelwrap.capabilities.keys import KEYS, is_range

_NOT_GIVEN: Any = object()

_DEFAULTS = {"sampling.temperature": 1, "sampling.top_p": 1, "penalties": 0, "n": 1, "parallel_tools": True}
"""What an option is where it is left out."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what a model accepts. A fact that nobody knows is None, never "no"."""

    model: str = ""
    provider: str = ""
    platform: str = ""
    kind: str = ""
    """`chat`, `embedding` or `image`; `other` for what is none of these; empty where no row names the model."""
    source: tuple[str, ...] = ()
    as_of: str = ""
    confidence: str = ""
    stated: frozenset[str] = frozenset()
    """The facts that a config states, over what any row says."""
    values: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    conditions: tuple[Mapping[str, Any], ...] = field(default=(), hash=False, repr=False)
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Why a fact holds for this request, where a condition says so."""

    @property
    def model_known(self) -> bool:
        """Tell whether a row names the model, and not only its provider."""
        return bool(self.kind)

    @property
    def assumption(self) -> str:
        """Say what stands in for a row of the model's own; empty where it has one, or nothing is assumed."""
        if self.model_known or not self.provider or not self.values:
            return ""
        return f"no row of the capability table names {self.model}; what holds for {self.provider} is assumed"

    def certain(self, key: str) -> bool:
        """Tell whether a fact is no guess and no hearsay: a config states it, or a good row of the model's own."""
        return key in self.stated or (self.model_known and self.confidence != "low")

    def get(self, key: str) -> Any:
        """Give a fact, such as `thinking.style`; None where nobody knows. `KeyError` for what is no fact's name."""
        value = self.values.get(key)
        if value is None and key not in KEYS:
            raise KeyError(key)
        return deepcopy(value) if isinstance(value, dict) else value

    def refuses(self, key: str, value: Any = _NOT_GIVEN) -> bool:
        """Tell whether an option is an error at this value; left out, at any but the default. Unknown is no refusal."""
        state = self.get(key)
        if value is None or state is None or state is True or state == "ignored":
            return False
        if state is False or state == "rejected":
            return True
        if state == "only_default":
            return bool(value != _DEFAULTS.get(key, _NOT_GIVEN))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return not state[0] <= value <= state[1] if is_range(state) else bool(value != state)

    def ignores(self, key: str) -> bool:
        """Tell whether an option is taken without effect and without an error."""
        return bool(self.get(key) == "ignored")

    def reason(self, key: str) -> str:
        """Say in words for people what `refuses` and `ignores` found."""
        state = self.get(key)
        if why := self.reasons.get(key):
            return f"{self.model}: {why}"
        if state == "ignored":
            return f"{self.model} takes it without effect"
        if state == "only_default":
            default = f", {_DEFAULTS[key]}" if key in _DEFAULTS else ""
            return f"{self.model} takes nothing but the default{default}"
        if is_range(state):
            return f"{self.model} takes it from {state[0]} to {state[1]}"
        if state is False or state == "rejected":
            return f"{self.model} refuses it"
        return f"{self.model} takes nothing but {state}"

    def under(
        self,
        *,
        endpoint: str = "",
        thinking: bool | str | None = None,
        effort: str | None = None,
        tools: bool = False,
        tool_choice: Any = None,
        params: Collection[str] = (),
    ) -> Facts:
        """Give the facts as they are for a finished request; `request` is then "rejected" where it cannot work.

        `thinking` is True, False or "budget"; None means as the effort says, else as the model does by itself. `params`
        are the names of the parameters that go out.
        """
        if not self.conditions:
            return self
        effort = effort or self.get("thinking.default")
        asked = {
            "endpoint": endpoint,
            "thinking": self._thinking(thinking, effort),
            "effort": effort,
            "tools": bool(tools),
            "tool_choice": _kind_of_choice(tool_choice),
            "params": params,
            "platform": self.platform,
        }
        holding = [
            condition
            for condition in self.conditions
            if all(_holds(name, wanted, asked) for name, wanted in condition["when"].items())
        ]
        if not holding:
            return self
        values, reasons = dict(self.values), dict(self.reasons)
        for condition in holding:
            values.update(condition["set"])
            reasons.update(dict.fromkeys(condition["set"], condition["why"]))
        return replace(self, values=values, reasons=reasons, conditions=())

    def retirement(self, today: date) -> str:
        """Say since when the model is gone, or what answers in its place; empty while it lives."""
        since, successor = self.get("retired_on"), self.get("answers_from")
        status = self.get("status")
        # As texts, dates in ISO's form compare as dates.
        past = bool(since) and since <= today.isoformat()
        if status == "disputed" or not (past or status in ("retired", "redirected")):
            return ""
        if successor:
            return f"{self.model} answers from {successor}" + (f" since {since}" if past else "")
        gone = f"was retired on {since}" if past else "is retired"
        advice = f"; its successor is {self.get('replaced_by')}" if self.get("replaced_by") else ""
        return f"{self.model} {gone}{advice}"

    def _thinking(self, given: bool | str | None, effort: str | None) -> str:
        if given is None and effort is not None:
            given = effort != "none"
        if given is None:
            given = self.get("thinking.on_by_default")
        if given is None:
            return ""
        if given == "budget" or (given is True and self.get("thinking.style") == "budget"):
            return "budget"
        return "on" if given and given != "off" else "off"


def _holds(name: str, wanted: Any, asked: Mapping[str, Any]) -> bool:
    if name == "effort_not":
        return asked["effort"] is not None and asked["effort"] != wanted
    given = asked[name]
    if name == "params":
        return all(parameter in given for parameter in wanted)
    if name == "thinking" and wanted == "on":
        return given in ("on", "budget")
    return given in wanted if isinstance(wanted, list) else bool(given == wanted)


def _kind_of_choice(tool_choice: Any) -> str:
    """Name what OpenAI's `tool_choice` asks: `auto`, `none`, `required`, or `named` for one tool."""
    if isinstance(tool_choice, Mapping):
        return "named"
    return "required" if tool_choice == "any" else str(tool_choice or "auto")
