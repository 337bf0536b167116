"""Calls in OpenAI's chat format, each beside the call of `client.responses` that means the same."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PNG = f"data:image/png;base64,{_PIXEL}"
PDF = "data:application/pdf;base64,JVBERi0xLjQgeA=="
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STRICT_CITY = {**CITY, "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tell it.", "parameters": CITY}}
OWN_WEATHER = {"type": "function", "name": "weather", "description": "Tell it.", "parameters": CITY, "strict": False}
EXACT = {"type": "function", "function": {"name": "weather", "parameters": STRICT_CITY, "strict": True}}
OWN_EXACT = {"type": "function", "name": "weather", "parameters": STRICT_CITY, "strict": True}
SQL = {
    "type": "custom",
    "custom": {
        "name": "sql",
        "description": "Ask.",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}},
    },
}
OWN_SQL = {
    "type": "custom",
    "name": "sql",
    "description": "Ask.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"},
}
RIVERS = {"name": "rivers", "strict": True, "schema": STRICT_CITY}
THINKS = "gpt-5.5"
ENCRYPTED = ["reasoning.encrypted_content"]


class River(BaseModel):
    name: str = Field(description="In English.")
    length: float | None = None


def user(content: Any, **beside: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **beside}


def assistant(content: Any = None, **beside: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **beside}


def call(number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def own_call(number: int, name: str = "weather", arguments: str = '{"city":"Rome"}') -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{number}", "name": name, "arguments": arguments}


def result(number: int, content: Any, **beside: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content, **beside}


def own_result(number: int, output: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": output}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def own_text(said: str) -> dict[str, Any]:
    return {"type": "input_text", "text": said}


def image(url: str, **beside: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **beside}}


def own_image(url: str, detail: str = "auto") -> dict[str, Any]:
    return {"type": "input_image", "image_url": url, "detail": detail}


HI = [user("Hi")]
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5j"}
CALLED = {**own_call(1), "id": "fc_1", "status": "completed"}
SEARCHED = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "rivers"},
}
SPOKEN = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "final_answer",
    "content": [{"type": "output_text", "text": "Rome.", "annotations": []}],
}


def kept(*items: dict[str, Any]) -> dict[str, Any]:
    return {"extra_content": {"openai": {"output": list(items)}}}


# name: (messages, parameters of ours, arguments of theirs); `store=False` is theirs unless they say otherwise.
CALLS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "text": ("Hi", {}, {"input": HI}),
    "unicode": ("Zürich 🏔 \u2028", {}, {"input": [user("Zürich 🏔 \u2028")]}),
    "turns": (
        [user("Hi"), assistant("Hello"), user("Bye")],
        {},
        {"input": [user("Hi"), assistant("Hello"), user("Bye")]},
    ),
    "system": (
        [{"role": "system", "content": "Be brief."}, user("Hi")],
        {},
        {"input": [{"role": "system", "content": "Be brief."}, user("Hi")]},
    ),
    "later developer": (
        [user("Hi"), assistant("Hello"), {"role": "developer", "content": "Be kind."}, user("Bye")],
        {},
        {"input": [user("Hi"), assistant("Hello"), {"role": "developer", "content": "Be kind."}, user("Bye")]},
    ),
    "instructions": ("Hi", {"instructions": "Be brief."}, {"input": HI, "instructions": "Be brief."}),
    "parts": ([user([text("a"), text("b")])], {}, {"input": [user([own_text("a"), own_text("b")])]}),
    "image": (
        [user([text("What?"), image("https://example.com/a.png")])],
        {},
        {"input": [user([own_text("What?"), own_image("https://example.com/a.png")])]},
    ),
    "image in detail": ([user([image(PNG, detail="high")])], {}, {"input": [user([own_image(PNG, "high")])]}),
    "pdf": (
        [user([{"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}])],
        {},
        {"input": [user([{"type": "input_file", "file_data": PDF, "filename": "a.pdf"}])]},
    ),
    "pdf at url": (
        [user([{"type": "document_url", "document_url": {"url": "https://example.com/a.pdf"}}])],
        {},
        {"input": [user([{"type": "input_file", "file_url": "https://example.com/a.pdf"}])]},
    ),
    "file of theirs": (
        [user([{"type": "file", "file": {"file_id": "file-1"}}])],
        {},
        {"input": [user([{"type": "input_file", "file_id": "file-1"}])]},
    ),
    "cache breakpoint": (
        [user([{**text("Long."), "prompt_cache_breakpoint": {"mode": "explicit"}}])],
        {},
        {"input": [user([{**own_text("Long."), "prompt_cache_breakpoint": {"mode": "explicit"}}])]},
    ),
    "limit": ("Hi", {"max_tokens": 100}, {"input": HI, "max_output_tokens": 100}),
    "newer limit": ("Hi", {"max_completion_tokens": 100}, {"input": HI, "max_output_tokens": 100}),
    "sampling": ("Hi", {"temperature": 0, "top_p": 0.5}, {"input": HI, "temperature": 0, "top_p": 0.5}),
    "effort": (
        "Hi",
        {"model": THINKS, "reasoning_effort": "low"},
        {"model": THINKS, "input": HI, "reasoning": {"effort": "low"}, "include": ENCRYPTED},
    ),
    "summaries": (
        "Hi",
        {"model": THINKS, "reasoning_effort": "low", "reasoning": {"summary": "auto"}},
        {"model": THINKS, "input": HI, "reasoning": {"effort": "low", "summary": "auto"}, "include": ENCRYPTED},
    ),
    "verbosity": ("Hi", {"verbosity": "low"}, {"input": HI, "text": {"verbosity": "low"}}),
    "json": (
        "Hi",
        {"response_format": {"type": "json_object"}},
        {"input": HI, "text": {"format": {"type": "json_object"}}},
    ),
    "schema": (
        "Hi",
        {"response_format": {"type": "json_schema", "json_schema": RIVERS}},
        {"input": HI, "text": {"format": {"type": "json_schema", **RIVERS}}},
    ),
    "schema and verbosity": (
        "Hi",
        {"response_format": {"type": "json_schema", "json_schema": RIVERS}, "verbosity": "high"},
        {"input": HI, "text": {"format": {"type": "json_schema", **RIVERS}, "verbosity": "high"}},
    ),
    "logprobs": (
        "Hi",
        {"logprobs": True, "top_logprobs": 2},
        {"input": HI, "top_logprobs": 2, "include": ["message.output_text.logprobs"]},
    ),
    "tools": ("Hi", {"tools": [WEATHER]}, {"input": HI, "tools": [OWN_WEATHER]}),
    "strict tools": ("Hi", {"tools": [EXACT]}, {"input": HI, "tools": [OWN_EXACT]}),
    "custom tools": ("Hi", {"tools": [SQL]}, {"input": HI, "tools": [OWN_SQL]}),
    "tools of theirs": (
        "Hi",
        {"tools": [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"input": HI, "tools": [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}]},
    ),
    "web search options": (
        "Hi",
        {"web_search_options": {"search_context_size": "low"}},
        {"input": HI, "tools": [{"type": "web_search", "search_context_size": "low"}]},
    ),
    "choice required": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": "required"},
        {"input": HI, "tools": [OWN_WEATHER], "tool_choice": "required"},
    ),
    "choice named": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"input": HI, "tools": [OWN_WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
    ),
    "choice among some": (
        "Hi",
        {
            "tools": [WEATHER, SQL],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
            },
        },
        {
            "input": HI,
            "tools": [OWN_WEATHER, OWN_SQL],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}],
            },
        },
    ),
    "one at a time": (
        "Hi",
        {"tools": [WEATHER], "parallel_tool_calls": False},
        {"input": HI, "tools": [OWN_WEATHER], "parallel_tool_calls": False},
    ),
    "call and result": (
        [user("Weather?"), assistant(tool_calls=[call(1)]), result(1, "Sun.")],
        {"tools": [WEATHER]},
        {"input": [user("Weather?"), own_call(1), own_result(1, "Sun.")], "tools": [OWN_WEATHER]},
    ),
    "parallel calls": (
        [user("Weather?"), assistant("I look.", tool_calls=[call(1), call(2)]), result(1, "Sun."), result(2, "Rain.")],
        {"tools": [WEATHER]},
        {
            "input": [
                user("Weather?"),
                assistant("I look."),
                own_call(1),
                own_call(2),
                own_result(1, "Sun."),
                own_result(2, "Rain."),
            ],
            "tools": [OWN_WEATHER],
        },
    ),
    "result with image": (
        [user("Draw."), assistant(tool_calls=[call(1)]), result(1, [text("Here."), image(PNG)])],
        {},
        {"input": [user("Draw."), own_call(1), own_result(1, [own_text("Here."), own_image(PNG)])]},
    ),
    "custom call": (
        [
            user("Ask."),
            assistant(tool_calls=[{"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "x"}}]),
            result(1, "1"),
        ],
        {"tools": [SQL]},
        {
            "input": [
                user("Ask."),
                {"type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": "x"},
                {"type": "custom_tool_call_output", "call_id": "call_1", "output": "1"},
            ],
            "tools": [OWN_SQL],
        },
    ),
    "thought replayed": (
        [user("Weather?"), assistant(tool_calls=[call(1)], **kept(THOUGHT, CALLED)), result(1, "Sun.")],
        {"model": THINKS, "tools": [WEATHER]},
        {
            "model": THINKS,
            "input": [user("Weather?"), THOUGHT, CALLED, own_result(1, "Sun.")],
            "tools": [OWN_WEATHER],
            "include": ENCRYPTED,
        },
    ),
    "search replayed": (
        [user("Where?"), assistant("Rome.", **kept(SEARCHED, SPOKEN)), user("Sure?")],
        {"tools": [{"type": "web_search"}]},
        {"input": [user("Where?"), SEARCHED, SPOKEN, user("Sure?")], "tools": [{"type": "web_search"}]},
    ),
    "approval": (
        [
            user("Do it."),
            user(
                None,
                extra_content={
                    "openai": {
                        "input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}]
                    }
                },
            ),
        ],
        {},
        {
            "input": [
                user("Do it."),
                {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
            ]
        },
    ),
    "result with a file of theirs": (
        [
            user("Draw."),
            assistant(tool_calls=[call(1)]),
            user(
                None,
                extra_content={
                    "openai": {
                        "input": [own_result(1, [{"type": "input_image", "file_id": "file-1", "detail": "low"}])]
                    }
                },
            ),
        ],
        {},
        {
            "input": [
                user("Draw."),
                own_call(1),
                own_result(1, [{"type": "input_image", "file_id": "file-1", "detail": "low"}]),
            ]
        },
    ),
    "reasoning of xAI's": (
        "Hi",
        {"model": "grok-4.3", "reasoning_effort": "low"},
        {"model": "grok-4.3", "input": HI, "reasoning": {"effort": "low"}, "include": ENCRYPTED},
    ),
    "small limit": ("Hi", {"max_tokens": 1}, {"input": HI, "max_output_tokens": 16}),
    "kept at the server": ("Hi", {"store": True}, {"input": HI, "store": True}),
    "previous response": (
        [result(1, "Sun.")],
        {"previous_response_id": "resp_1"},
        {"input": [own_result(1, "Sun.")], "previous_response_id": "resp_1", "store": None},
    ),
    "conversation": (
        "Hi",
        {"conversation": "conv_1"},
        {"input": HI, "conversation": "conv_1", "store": None},
    ),
    "beside": (
        "Hi",
        {"metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "prompt_cache_key": "k", "truncation": "auto"},
        {
            "input": HI,
            "metadata": {"a": "b"},
            "service_tier": "flex",
            "user": "u",
            "prompt_cache_key": "k",
            "truncation": "auto",
        },
    ),
    "included": (
        "Hi",
        {"tools": [{"type": "web_search"}], "include": ["web_search_call.action.sources"]},
        {"input": HI, "tools": [{"type": "web_search"}], "include": ["web_search_call.action.sources"]},
    ),
    "extra body": ("Hi", {"extra_body": {"new_field": 1}}, {"input": HI, "extra_body": {"new_field": 1}}),
}
