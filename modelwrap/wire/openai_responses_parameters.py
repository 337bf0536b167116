"""The parameters of a chat as Responses takes them: renamed, passed on, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.errors import BadRequest
from modelwrap.types import Change
from modelwrap.wire.http import WireCall
from modelwrap.wire.openai_parameters import TOKEN_LIMITS, accepted
from modelwrap.wire.openai_strict import named_tool

_CHAT_INSTEAD = 'Chat Completions does, where the model answers there: "api": "chat"'

# What Responses has nothing for, the values that ask for nothing, and what to say of all others.
_CANNOT: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), f"Responses gives no more than one answer; {_CHAT_INSTEAD}"),
    "stop": (([],), f"Responses stops at no text; {_CHAT_INSTEAD}"),
    "seed": ((), f"Responses has no seed; {_CHAT_INSTEAD}"),
    "frequency_penalty": ((0,), f"Responses has no penalties; {_CHAT_INSTEAD}"),
    "presence_penalty": ((0,), f"Responses has no penalties; {_CHAT_INSTEAD}"),
    "logit_bias": (({},), f"Responses lets nobody change the odds of a token; {_CHAT_INSTEAD}"),
    "prediction": ((), f"Responses takes no text that it may expect to write; {_CHAT_INSTEAD}"),
    "audio": ((), f"Responses answers in text; {_CHAT_INSTEAD}"),
    "modalities": ((["text"],), f"Responses answers in text; {_CHAT_INSTEAD}"),
}
_TRANSLATED = frozenset(
    {
        *("tools", "tool_choice", "reasoning_effort", "verbosity", "response_format", "logprobs", "stream_options"),
        *("web_search_options", "reasoning", "text", "include", "store"),
        *TOKEN_LIMITS,
        *_CANNOT,
    }
)
_KEEPS_HISTORY = ("previous_response_id", "conversation")
_STORES = (*_KEEPS_HISTORY, "background")

# Below it the servers of OpenAI and Azure answer 400, integer_below_min_value.
_LEAST_TOKENS = 16

_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


def to_parameters(call: WireCall, facts: Facts) -> dict[str, Any]:
    """Write everything but the messages; a parameter that Chat Completions does not have goes through as it is."""
    asked = {name: value for name, value in call.parameters.items() if value is not None or name not in _TRANSLATED}
    for name in [name for name in _CANNOT if name in asked]:
        asks_for_nothing, reason = _CANNOT[name]
        if asked.pop(name) not in asks_for_nothing:
            call.cannot(name, reason)
    effort = effort_of({**asked, **call.extra_body})
    given = accepted(asked, call, facts, endpoint="responses", effort=effort)
    written = {name: value for name, value in given.items() if name not in _TRANSLATED}
    _limit(given, written, call, facts)
    _tools(given, written, call)
    _reasoning(given, written)
    _text(given, written)
    _stream_options(given, written)
    _stored(given, written, call)
    _include(given, written, call, facts)
    return written


def server_keeps_history(call: WireCall) -> bool:
    """Tell whether the messages only go on with what the server keeps."""
    return _names_any(_KEEPS_HISTORY, call.parameters, call.extra_body)


def goes_without_messages(parameters: Mapping[str, Any], extra_body: Mapping[str, Any]) -> bool:
    """Tell whether the server has what is to be answered: it keeps it, or it stands in a prompt of the account's."""
    return _names_any((*_KEEPS_HISTORY, "prompt"), parameters, extra_body)


def _names_any(names: tuple[str, ...], parameters: Mapping[str, Any], extra_body: Mapping[str, Any]) -> bool:
    return any(parameters.get(name) or extra_body.get(name) for name in names)


def effort_of(body: Mapping[str, Any]) -> str | None:
    """Give how much a request asks a model to think, in the words of either wire."""
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    return effort or body.get("reasoning_effort")


def _limit(given: dict[str, Any], written: dict[str, Any], call: WireCall, facts: Facts) -> None:
    for name in TOKEN_LIMITS[::-1]:
        if name not in given:
            continue
        if "max_output_tokens" in written:
            call.changes.append(Change("dropped", name, "the limit is given by another name, too"))
        else:
            wanted = written["max_output_tokens"] = given[name]
            call.changes.append(Change("renamed", name, "sent as max_output_tokens"))
            if facts.provider == "openai" and isinstance(wanted, int) and 0 < wanted < _LEAST_TOKENS:
                written["max_output_tokens"] = _LEAST_TOKENS
                least = f"{wanted} to {_LEAST_TOKENS}, the least that Responses takes"
                call.changes.append(Change("clamped", name, least))


def _reasoning(given: dict[str, Any], written: dict[str, Any]) -> None:
    reasoning = given.get("reasoning")
    if "reasoning_effort" in given:
        own = reasoning if isinstance(reasoning, Mapping) else {}
        written["reasoning"] = {"effort": given["reasoning_effort"], **own}
    elif reasoning is not None:
        written["reasoning"] = reasoning


def _text(given: dict[str, Any], written: dict[str, Any]) -> None:
    text: dict[str, Any] = {}
    asked = given.get("response_format")
    if isinstance(asked, Mapping):
        inner = asked.get("json_schema")
        named = inner if asked.get("type") == "json_schema" and isinstance(inner, Mapping) else {}
        text["format"] = {**{name: value for name, value in asked.items() if name != "json_schema"}, **named}
    if "verbosity" in given:
        text["verbosity"] = given["verbosity"]
    own = given.get("text")
    if text or own is not None:
        written["text"] = {**text, **own} if isinstance(own, Mapping) else own if own is not None else text


def _stream_options(given: dict[str, Any], written: dict[str, Any]) -> None:
    """Pass on what Responses has; it counts the tokens of every stream, asked or not."""
    options = given.get("stream_options")
    if isinstance(options, Mapping) and (rest := {name: options[name] for name in options if name != "include_usage"}):
        written["stream_options"] = rest


def _stored(given: dict[str, Any], written: dict[str, Any], call: WireCall) -> None:
    """Keep nothing at the server unless the call asks for it: docs/decisions/responses-keep-nothing.md."""
    if "store" in call.parameters:
        # None leaves it to the server.
        written.update({"store": given["store"]} if "store" in given else {})
    elif "store" not in call.extra_body and not any({**given, **call.extra_body}.get(name) for name in _STORES):
        written["store"] = False
        call.changes.append(Change("defaulted", "store", "false: the server keeps nothing unless the call asks for it"))


def _include(given: dict[str, Any], written: dict[str, Any], call: WireCall, facts: Facts) -> None:
    wanted = _listed(given, "include")
    own = "include" in call.parameters
    if (given.get("logprobs") or given.get("top_logprobs")) and _LOGPROBS not in wanted:
        wanted.append(_LOGPROBS)
    # Servers refuse the word for models that do not reason.
    if not own and facts.get("thinking.replay") == "items" and not server_keeps_history(call):
        wanted.append(_ENCRYPTED)
    if wanted or "include" in given:
        written["include"] = wanted


def _listed(given: Mapping[str, Any], name: str) -> list[Any]:
    value = given.get(name)
    if value is not None and not isinstance(value, (list, tuple)):
        raise BadRequest(f"{name}: must be a list, not {type(value).__name__}", sent=False)
    return list(value or ())


# Tools.


def _tools(given: dict[str, Any], written: dict[str, Any], call: WireCall) -> None:
    tools = [_tool(named_tool(tool, call.changes)) for tool in _listed(given, "tools")]
    if "web_search_options" in given:
        tools.append(_web_search(given["web_search_options"]))
        call.changes.append(Change("converted", "web_search_options", "sent as the tool web_search"))
    if tools or "tools" in given:
        written["tools"] = tools
    if "tool_choice" in given:
        written["tool_choice"] = _choice(given["tool_choice"])


def _tool(tool: Any) -> Any:
    """Write a definition; what is neither a function nor a custom tool of Chat Completions' is Responses' own."""
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    inner = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inner, Mapping):
        return tool
    beside = {name: value for name, value in tool.items() if name != kind}
    if kind == "function":
        # Left out, the two mean something else here than in Chat Completions.
        schema = inner.get("parameters") or {"type": "object", "properties": {}}
        return {**beside, **inner, "parameters": schema, "strict": bool(inner.get("strict"))}
    written = {**beside, **inner}
    grammar = inner.get("format")
    if isinstance(grammar, Mapping) and isinstance(grammar.get("grammar"), Mapping):
        written["format"] = {"type": "grammar", **grammar["grammar"]}
    return written


def _choice(choice: Any) -> Any:
    choice = named_tool(choice, [])
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    inner = choice.get(kind) if kind in ("function", "custom", "allowed_tools") else None
    if not isinstance(inner, Mapping):
        return choice
    if kind != "allowed_tools":
        return {"type": kind, **inner}
    return {"type": kind, **inner, "tools": [_choice(tool) for tool in _listed(inner, "tools")]}


def _web_search(options: Any) -> dict[str, Any]:
    given = dict(options) if isinstance(options, Mapping) else {}
    place = given.get("user_location")
    if isinstance(place, Mapping) and isinstance(place.get("approximate"), Mapping):
        given["user_location"] = {"type": "approximate", **place["approximate"]}
    return {"type": "web_search", **given}
