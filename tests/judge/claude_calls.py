"""Calls in OpenAI's format, each beside the call of Anthropic's own client that means the same."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQgeA=="
EPHEMERAL = {"type": "ephemeral"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tell it.", "parameters": CITY}}
OWN_WEATHER = {"name": "weather", "description": "Tell it.", "input_schema": CITY}
NOW = {"type": "function", "function": {"name": "now"}}
OWN_NOW = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
HIDDEN_THOUGHT = {"type": "redacted_thinking", "data": "eHh4"}
SEARCHED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


class River(BaseModel):
    name: str = Field(min_length=2, description="In English.")
    length: float | None = None
    kinds: list[str] = Field(max_length=3)


def user(content: Any, **beside: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **beside}


def assistant(content: Any = None, **beside: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **beside}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def text(words: str, **beside: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **beside}


def call(number: int, name: str = "weather", arguments: str = '{"city": "Rome"}') -> dict[str, Any]:
    return {"id": f"toolu_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def use(number: int, name: str = "weather", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}


def result(number: int, content: Any, **beside: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"toolu_{number}", "content": content, **beside}


def own_result(number: int, content: Any, **beside: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content, **beside}


def image(url: str, **beside: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, **beside}


def own_image(**beside: Any) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}, **beside}


def file(**inner: Any) -> dict[str, Any]:
    return {"type": "file", "file": inner}


def own_file(**beside: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, **beside}


PICTURE = image(f"data:image/png;base64,{PNG}")
HI = [user("Hi")]

# name: (messages, parameters of ours, parameters of Anthropic's client); the model and the limit are added to both.
CALLS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "text": ("Hi", {}, {"messages": HI}),
    "turns": ([user("Hi"), assistant("Hello"), user("Bye")], {}, {"messages": [*HI, assistant("Hello"), user("Bye")]}),
    "parts": ([user([text("a"), text("b")])], {}, {"messages": [user([text("a"), text("b")])]}),
    "system": ([system("Be brief."), *HI], {}, {"system": "Be brief.", "messages": HI}),
    "system run": (
        [system("Be brief."), {"role": "developer", "content": "Be kind."}, *HI],
        {},
        {"system": [text("Be brief."), text("Be kind.")], "messages": HI},
    ),
    "system cached": (
        [system([text("Long.", cache_control=EPHEMERAL)]), *HI],
        {},
        {"system": [text("Long.", cache_control=EPHEMERAL)], "messages": HI},
    ),
    "later system": (
        [*HI, system("Be brief.")],
        {"model": "claude-opus-4-8"},
        {"model": "claude-opus-4-8", "messages": [*HI, {"role": "system", "content": "Be brief."}]},
    ),
    "sampling": ("Hi", {"temperature": 0, "top_k": 5}, {"messages": HI, "extra_body": {"temperature": 0, "top_k": 5}}),
    "stop": ("Hi", {"stop": ["a", "b"]}, {"messages": HI, "stop_sequences": ["a", "b"]}),
    "user": ("Hi", {"user": "u-1"}, {"messages": HI, "metadata": {"user_id": "u-1"}}),
    "service tier": ("Hi", {"service_tier": "auto"}, {"messages": HI, "service_tier": "auto"}),
    "newer limit": ("Hi", {"max_tokens": None, "max_completion_tokens": 9}, {"messages": HI, "max_tokens": 9}),
    "cached as a whole": ("Hi", {"cache_control": EPHEMERAL}, {"messages": HI, "cache_control": EPHEMERAL}),
    "cached part": (
        [user([text("Long.", cache_control={"type": "ephemeral", "ttl": "1h"}), text("Short.")])],
        {},
        {"messages": [user([text("Long.", cache_control={"type": "ephemeral", "ttl": "1h"}), text("Short.")])]},
    ),
    "tools": ("Hi", {"tools": [WEATHER, NOW]}, {"messages": HI, "tools": [OWN_WEATHER, OWN_NOW]}),
    "cached tool": (
        "Hi",
        {"tools": [{**WEATHER, "cache_control": EPHEMERAL}]},
        {"messages": HI, "tools": [{**OWN_WEATHER, "cache_control": EPHEMERAL}]},
    ),
    "server tool": ("Hi", {"tools": [SEARCH]}, {"messages": HI, "tools": [SEARCH]}),
    "any tool": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": "required"},
        {"messages": HI, "tools": [OWN_WEATHER], "tool_choice": {"type": "any"}},
    ),
    "one tool": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"messages": HI, "tools": [OWN_WEATHER], "tool_choice": {"type": "tool", "name": "weather"}},
    ),
    "no tool": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": "none"},
        {"messages": HI, "tools": [OWN_WEATHER], "tool_choice": {"type": "none"}},
    ),
    "one call at a time": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": False},
        {"messages": HI, "tools": [OWN_WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "tool result": (
        [*HI, assistant(tool_calls=[call(1)]), result(1, "Sun.")],
        {"tools": [WEATHER]},
        {
            "messages": [*HI, assistant([use(1, city="Rome")]), user([own_result(1, "Sun.")])],
            "tools": [OWN_WEATHER],
        },
    ),
    "parallel tool results": (
        [*HI, assistant("I look.", tool_calls=[call(1), call(2, "now", "")]), result(1, "Sun."), result(2, "Noon.")],
        {"tools": [WEATHER, NOW]},
        {
            "messages": [
                *HI,
                assistant([text("I look."), use(1, city="Rome"), use(2, "now")]),
                user([own_result(1, "Sun."), own_result(2, "Noon.")]),
            ],
            "tools": [OWN_WEATHER, OWN_NOW],
        },
    ),
    "tool result and more": (
        [*HI, assistant(tool_calls=[call(1)]), result(1, "Sun."), user("And tomorrow?")],
        {"tools": [WEATHER]},
        {
            "tools": [OWN_WEATHER],
            "messages": [
                *HI,
                assistant([use(1, city="Rome")]),
                user([own_result(1, "Sun."), text("And tomorrow?")]),
            ],
        },
    ),
    "tool result with a picture": (
        [*HI, assistant(tool_calls=[call(1)]), result(1, [text("Look:"), PICTURE])],
        {"tools": [WEATHER]},
        {
            "tools": [OWN_WEATHER],
            "messages": [
                *HI,
                assistant([use(1, city="Rome")]),
                user([own_result(1, [text("Look:"), own_image()])]),
            ],
        },
    ),
    "failed tool": (
        [*HI, assistant(tool_calls=[call(1)]), result(1, "No net.", is_error=True)],
        {"tools": [WEATHER]},
        {
            "tools": [OWN_WEATHER],
            "messages": [*HI, assistant([use(1, city="Rome")]), user([own_result(1, "No net.", is_error=True)])],
        },
    ),
    "two rounds of tools": (
        [
            *HI,
            assistant(tool_calls=[call(1)]),
            result(1, "Sun."),
            assistant("Now Oslo.", tool_calls=[call(2, arguments='{"city": "Oslo"}')]),
            result(2, "Snow."),
        ],
        {"tools": [WEATHER]},
        {
            "tools": [OWN_WEATHER],
            "messages": [
                *HI,
                assistant([use(1, city="Rome")]),
                user([own_result(1, "Sun.")]),
                assistant([text("Now Oslo."), use(2, city="Oslo")]),
                user([own_result(2, "Snow.")]),
            ],
        },
    ),
    "picture": ([user([text("What?"), PICTURE])], {}, {"messages": [user([text("What?"), own_image()])]}),
    "picture elsewhere": (
        [user([image("https://example.com/a.png", cache_control=EPHEMERAL)])],
        {},
        {
            "messages": [
                user(
                    [
                        {
                            "type": "image",
                            "source": {"type": "url", "url": "https://example.com/a.png"},
                            "cache_control": EPHEMERAL,
                        }
                    ]
                )
            ]
        },
    ),
    "pdf": (
        [user([file(filename="a.pdf", file_data=f"data:application/pdf;base64,{PDF}"), text("Sum up.")])],
        {},
        {"messages": [user([own_file(title="a.pdf"), text("Sum up.")])]},
    ),
    "pdf elsewhere": (
        [user([file(file_data="https://example.com/a.pdf")])],
        {},
        {"messages": [user([{"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}])]},
    ),
    "pdf with citations": (
        [user([{**file(file_data=f"data:application/pdf;base64,{PDF}"), "citations": {"enabled": True}}])],
        {},
        {"messages": [user([own_file(citations={"enabled": True})])]},
    ),
    "kept file": (
        [user([file(file_id="file_011")])],
        {},
        {"messages": [user([{"type": "document", "source": {"type": "file", "file_id": "file_011"}}])]},
    ),
    "text file": (
        [user([file(filename="a.txt", file_data="data:text/plain;base64,SGk=")])],
        {},
        {
            "messages": [
                user(
                    [
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "Hi"},
                            "title": "a.txt",
                        }
                    ]
                )
            ]
        },
    ),
    "prefill": ([*HI, assistant("Hello, my")], {}, {"messages": [*HI, assistant("Hello, my")]}),
    "thinking by budget": (
        "Hi",
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000},
        {"messages": HI, "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000},
    ),
    "effort of an older model": (
        "Hi",
        {"reasoning_effort": "low", "max_tokens": 4000},
        {"messages": HI, "thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4000},
    ),
    "effort": (
        "Hi",
        {"reasoning_effort": "high", "model": "claude-opus-4-8"},
        {
            "messages": HI,
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "high"},
            "model": "claude-opus-4-8",
        },
    ),
    "effort of a model that always thinks": (
        "Hi",
        {"reasoning_effort": "max", "model": "claude-opus-5-5"},
        {"messages": HI, "output_config": {"effort": "max"}, "model": "claude-opus-5-5"},
    ),
    "no thinking": (
        "Hi",
        {"reasoning_effort": "none", "model": "claude-sonnet-5"},
        {"messages": HI, "thinking": {"type": "disabled"}, "model": "claude-sonnet-5"},
    ),
    "thinking replayed": (
        [
            *HI,
            assistant(
                "I look.",
                tool_calls=[call(1)],
                extra_content={
                    "anthropic": {"content": [THOUGHT, HIDDEN_THOUGHT, text("I look."), use(1, city="Rome")]}
                },
            ),
            result(1, "Sun."),
        ],
        {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000},
        {
            "tools": [OWN_WEATHER],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "max_tokens": 4000,
            "messages": [
                *HI,
                assistant([THOUGHT, HIDDEN_THOUGHT, text("I look."), use(1, city="Rome")]),
                user([own_result(1, "Sun.")]),
            ],
        },
    ),
    "server tool replayed": (
        [*HI, assistant("So.", extra_content={"anthropic": {"content": [SEARCHED, FOUND, text("So.")]}}), user("Why?")],
        {"tools": [SEARCH]},
        {"messages": [*HI, assistant([SEARCHED, FOUND, text("So.")]), user("Why?")], "tools": [SEARCH]},
    ),
    "own parameters": (
        "Hi",
        {"container": "container_1", "inference_geo": "us", "diagnostics": {"previous_message_id": "msg_1"}},
        {
            "messages": HI,
            "container": "container_1",
            "inference_geo": "us",
            "diagnostics": {"previous_message_id": "msg_1"},
        },
    ),
    "own parts": (
        [user([{"type": "search_result", "source": "x", "title": "y", "content": [text("z")]}])],
        {},
        {"messages": [user([{"type": "search_result", "source": "x", "title": "y", "content": [text("z")]}])]},
    ),
    "extra body": ("Hi", {"extra_body": {"fine": 1}}, {"messages": HI, "extra_body": {"fine": 1}}),
}
