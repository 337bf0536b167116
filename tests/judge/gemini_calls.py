"""Calls in OpenAI's format, each beside the call of google-genai that means the same."""

from __future__ import annotations

import base64
from typing import Any

from google.genai import types as own
from pydantic import BaseModel, Field

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQgeA=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAA="
SIGNATURE = "c2lnbmVk+/8="
UNSIGNED = "skip_thought_signature_validator"
NEWER = "gemini-3.8-flash"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tell it.", "parameters": CITY}}
OWN_WEATHER = {"name": "weather", "description": "Tell it.", "parameters_json_schema": CITY}
NOW = {"type": "function", "function": {"name": "now"}}
OWN_NOW = {"name": "now"}


class River(BaseModel):
    name: str = Field(description="In English.")
    length: float | None = None
    kinds: list[str] = Field(max_length=3)


def user(content: Any, **beside: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **beside}


def assistant(content: Any = None, **beside: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **beside}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def call(
    number: int, name: str = "weather", arguments: str = '{"city":"Rome"}', signed: bool = False
) -> dict[str, Any]:
    made = {"id": f"x{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {**made, "extra_content": {"google": {"thought_signature": SIGNATURE}}} if signed else made


def result(number: int, content: Any, **beside: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"x{number}", "content": content, **beside}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def from_user(*parts: Any) -> own.Content:
    return own.Content(role="user", parts=[_part(part) for part in parts])


def from_model(*parts: Any) -> own.Content:
    return own.Content(role="model", parts=[_part(part) for part in parts])


def _part(part: Any) -> own.Part:
    return own.Part(text=part) if isinstance(part, str) else part


def blob(kind: str, data: str) -> own.Part:
    return own.Part.from_bytes(data=base64.b64decode(data), mime_type=kind)


def at(uri: str, kind: str | None = None) -> own.Part:
    return own.Part(file_data=own.FileData(file_uri=uri, mime_type=kind))


def own_call(name: str = "weather", call_id: str | None = None, signature: str | None = None, **args: Any) -> own.Part:
    signed = base64.b64decode(signature) if signature else None
    return own.Part(function_call=own.FunctionCall(name=name, args=args, id=call_id), thought_signature=signed)


def own_result(response: Any, name: str = "weather", call_id: str | None = None, **beside: Any) -> own.Part:
    return own.Part(function_response=own.FunctionResponse(name=name, response=response, id=call_id, **beside))


def signed(text: str, signature: str = SIGNATURE) -> own.Part:
    return own.Part(text=text, thought_signature=base64.b64decode(signature))


def declared(*functions: Any) -> list[Any]:
    return [{"function_declarations": list(functions)}]


def mode(mode: str, *names: str) -> dict[str, Any]:
    return {"function_calling_config": {"mode": mode, **({"allowed_function_names": list(names)} if names else {})}}


def text_of_system(*texts: str) -> own.Content:
    return own.Content(parts=[own.Part(text=text) for text in texts])


HI = [from_user("Hi")]
PICTURE = image(f"data:image/png;base64,{PNG}")
ASKED = [user("Weather?"), assistant(tool_calls=[call(1)])]
OWN_ASKED = [from_user("Weather?"), from_model(own_call(city="Rome"))]
CODE = [
    {"executableCode": {"language": "PYTHON", "code": "print(7)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "7\n"}},
    {"text": "It is 7.", "thoughtSignature": SIGNATURE},
]
OWN_CODE = [
    own.Part(executable_code=own.ExecutableCode(language="PYTHON", code="print(7)")),
    own.Part(code_execution_result=own.CodeExecutionResult(outcome="OUTCOME_OK", output="7\n")),
    signed("It is 7."),
]
SEARCHED = [
    {
        "toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s1", "args": {"queries": ["x"]}},
        "thoughtSignature": SIGNATURE,
    },
    {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s1", "response": {"a": "b"}}},
    {"text": "Found."},
]
OWN_SEARCHED = [
    own.Part(
        tool_call=own.ToolCall(tool_type="GOOGLE_SEARCH_WEB", id="s1", args={"queries": ["x"]}),
        thought_signature=base64.b64decode(SIGNATURE),
    ),
    own.Part(tool_response=own.ToolResponse(tool_type="GOOGLE_SEARCH_WEB", id="s1", response={"a": "b"})),
    own.Part(text="Found."),
]

# name: (messages, parameters of ours, contents of theirs, config of theirs); `model` goes to both.
CALLS: dict[str, tuple[Any, dict[str, Any], Any, dict[str, Any]]] = {
    "text": ("Hi", {}, "Hi", {}),
    "unicode": ("Zürich 🏔 \u2028", {}, "Zürich 🏔 \u2028", {}),
    "turns": ([user("Hi"), assistant("Hello"), user("Bye")], {}, [*HI, from_model("Hello"), from_user("Bye")], {}),
    "parts": ([user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], {}, [from_user("a", "b")], {}),
    "system": ([system("Be brief."), user("Hi")], {}, HI, {"system_instruction": text_of_system("Be brief.")}),
    "system run": (
        [system("Be brief."), {"role": "developer", "content": "Be kind."}, user("Hi")],
        {},
        HI,
        {"system_instruction": text_of_system("Be brief.", "Be kind.")},
    ),
    "sampling": (
        "Hi",
        {"temperature": 0, "top_p": 0.5, "top_k": 5, "seed": 7},
        "Hi",
        {"temperature": 0, "top_p": 0.5, "top_k": 5, "seed": 7},
    ),
    "limit": ("Hi", {"max_tokens": 100}, "Hi", {"max_output_tokens": 100}),
    "newer limit": ("Hi", {"max_completion_tokens": 100}, "Hi", {"max_output_tokens": 100}),
    "stop": ("Hi", {"stop": "END"}, "Hi", {"stop_sequences": ["END"]}),
    "stops": ("Hi", {"stop": ["a", "b"]}, "Hi", {"stop_sequences": ["a", "b"]}),
    "candidates": ("Hi", {"n": 2}, "Hi", {"candidate_count": 2}),
    "penalties": (
        "Hi",
        {"model": "gemini-9-radon", "presence_penalty": 0.5, "frequency_penalty": -0.5},
        "Hi",
        {"model": "gemini-9-radon", "presence_penalty": 0.5, "frequency_penalty": -0.5},
    ),
    "logprobs": (
        "Hi",
        {"model": "gemini-9-radon", "logprobs": True, "top_logprobs": 3},
        "Hi",
        {"model": "gemini-9-radon", "response_logprobs": True, "logprobs": 3},
    ),
    "safety": (
        "Hi",
        {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
        "Hi",
        {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
    ),
    "cache": ("Hi", {"cached_content": "cachedContents/abc"}, "Hi", {"cached_content": "cachedContents/abc"}),
    "labels": ("Hi", {"labels": {"team": "a"}}, "Hi", {"labels": {"team": "a"}}),
    "service tier": ("Hi", {"service_tier": "flex"}, "Hi", {"service_tier": "flex"}),
    "modalities": (
        "Draw",
        {"model": "gemini-3-pro-image", "modalities": ["text", "image"], "image_config": {"aspectRatio": "16:9"}},
        "Draw",
        {
            "model": "gemini-3-pro-image",
            "response_modalities": ["TEXT", "IMAGE"],
            "image_config": own.ImageConfig(aspect_ratio="16:9"),
        },
    ),
    "voice": (
        "Speak",
        {"modalities": ["audio"], "audio": {"voice": "Kore", "format": "pcm16"}},
        "Speak",
        {"response_modalities": ["AUDIO"], "speech_config": "Kore"},
    ),
    "media resolution": (
        "Hi",
        {"media_resolution": "MEDIA_RESOLUTION_LOW"},
        "Hi",
        {"media_resolution": "MEDIA_RESOLUTION_LOW"},
    ),
    "effort by level": (
        "Hi",
        {"model": NEWER, "reasoning_effort": "low"},
        "Hi",
        {"model": NEWER, "thinking_config": {"thinking_level": "LOW"}},
    ),
    "effort by budget": ("Hi", {"reasoning_effort": "low"}, "Hi", {"thinking_config": {"thinking_budget": 1024}}),
    "no thinking": ("Hi", {"reasoning_effort": "none"}, "Hi", {"thinking_config": {"thinking_budget": 0}}),
    "thoughts": (
        "Hi",
        {"include_thoughts": True, "thinking_budget": -1},
        "Hi",
        {"thinking_config": {"include_thoughts": True, "thinking_budget": -1}},
    ),
    "json": ("Hi", {"response_format": {"type": "json_object"}}, "Hi", {"response_mime_type": "application/json"}),
    "schema": (
        "Hi",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}},
        "Hi",
        {"response_mime_type": "application/json", "response_json_schema": CITY},
    ),
    "class": (
        "Hi",
        {"response_format": River},
        "Hi",
        {"response_mime_type": "application/json", "response_json_schema": River.model_json_schema()},
    ),
    "tools": ("Hi", {"tools": [WEATHER, NOW]}, "Hi", {"tools": declared(OWN_WEATHER, OWN_NOW)}),
    "own tools": (
        "Hi",
        {"tools": [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}, WEATHER]},
        "Hi",
        {"tools": [{"google_search": {}}, {"code_execution": {}}, {"url_context": {}}, *declared(OWN_WEATHER)]},
    ),
    "own tool config": (
        "Hi",
        {"tools": [{"googleSearch": {}}], "tool_config": {"includeServerSideToolInvocations": True}},
        "Hi",
        {"tools": [{"google_search": {}}], "tool_config": {"include_server_side_tool_invocations": True}},
    ),
    "no tool": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": "none"},
        "Hi",
        {"tools": declared(OWN_WEATHER), "tool_config": mode("NONE")},
    ),
    "any tool": (
        "Hi",
        {"tools": [WEATHER], "tool_choice": "required"},
        "Hi",
        {"tools": declared(OWN_WEATHER), "tool_config": mode("ANY")},
    ),
    "one tool": (
        "Hi",
        {"tools": [WEATHER, NOW], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        "Hi",
        {"tools": declared(OWN_WEATHER, OWN_NOW), "tool_config": mode("ANY", "weather")},
    ),
    "strict tool": (
        "Hi",
        {"tools": [{"type": "function", "function": {**WEATHER["function"], "strict": True}}]},  # type: ignore[dict-item]
        "Hi",
        {"tools": declared(OWN_WEATHER), "tool_config": mode("VALIDATED")},
    ),
    "tool result": (
        [*ASKED, result(1, '{"celsius":7}')],
        {"tools": [WEATHER]},
        [*OWN_ASKED, from_user(own_result({"celsius": 7}))],
        {"tools": declared(OWN_WEATHER)},
    ),
    "tool result as text": (
        [*ASKED, result(1, "Sun.")],
        {},
        [*OWN_ASKED, from_user(own_result({"output": "Sun."}))],
        {},
    ),
    "failed tool": (
        [*ASKED, result(1, "no such city", is_error=True)],
        {},
        [*OWN_ASKED, from_user(own_result({"error": "no such city"}))],
        {},
    ),
    "parallel tool results": (
        [
            user("Weather?"),
            assistant("I look.", tool_calls=[call(1, signed=True), call(2, "now", "")]),
            result(2, "Noon."),
            result(1, "Sun."),
            user("And?"),
        ],
        {"model": NEWER},
        [
            from_user("Weather?"),
            from_model("I look.", own_call("weather", "x1", SIGNATURE, city="Rome"), own_call("now", "x2")),
            from_user(own_result({"output": "Sun."}, "weather", "x1"), own_result({"output": "Noon."}, "now", "x2")),
            from_user("And?"),
        ],
        {"model": NEWER},
    ),
    "calls of another model": (
        [*ASKED, result(1, "Sun.")],
        {"model": NEWER},
        [
            from_user("Weather?"),
            from_model(
                own.Part(
                    function_call=own.FunctionCall(name="weather", args={"city": "Rome"}, id="x1"),
                    thought_signature=base64.urlsafe_b64decode(UNSIGNED),
                )
            ),
            from_user(own_result({"output": "Sun."}, "weather", "x1")),
        ],
        {"model": NEWER},
    ),
    "image of a tool": (
        [user("Look"), assistant(tool_calls=[call(1, "shoot", "{}", signed=True)]), result(1, [PICTURE])],
        {"model": NEWER},
        [
            from_user("Look"),
            from_model(own_call("shoot", "x1", SIGNATURE)),
            from_user(
                own_result(
                    {"output": ""},
                    "shoot",
                    "x1",
                    parts=[own.FunctionResponsePart.from_bytes(data=base64.b64decode(PNG), mime_type="image/png")],
                )
            ),
        ],
        {"model": NEWER},
    ),
    "signed thoughts": (
        [
            user("Hi"),
            assistant("Hello.", reasoning_content="Hm.", extra_content={"google": {"thought_signature": SIGNATURE}}),
            user("Bye"),
        ],
        {"model": NEWER},
        [*HI, from_model(own.Part(text="Hm.", thought=True), signed("Hello.")), from_user("Bye")],
        {"model": NEWER},
    ),
    "signature apart": (
        [
            user("Hi"),
            assistant("Hello.", extra_content={"google": {"thought_signature": SIGNATURE, "signed_apart": True}}),
            user("Bye"),
        ],
        {"model": NEWER},
        [*HI, from_model("Hello.", signed("")), from_user("Bye")],
        {"model": NEWER},
    ),
    "code that was run": (
        [user("Compute"), assistant("It is 7.", extra_content={"google": {"parts": CODE}}), user("Sure?")],
        {},
        [from_user("Compute"), from_model(*OWN_CODE), from_user("Sure?")],
        {},
    ),
    "searches that were made": (
        [user("Find"), assistant("Found.", extra_content={"google": {"parts": SEARCHED}}), user("Sure?")],
        {},
        [from_user("Find"), from_model(*OWN_SEARCHED), from_user("Sure?")],
        {},
    ),
    "image": ([user(["Look", PICTURE])], {}, [from_user("Look", blob("image/png", PNG))], {}),
    "image that was made": (
        [user("Draw"), assistant("Here.", images=[PICTURE]), user("Bluer")],
        {},
        [from_user("Draw"), from_model("Here.", blob("image/png", PNG)), from_user("Bluer")],
        {},
    ),
    "pdf": (
        [
            user(
                [
                    "Read",
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
                ]
            )
        ],
        {},
        [from_user("Read", blob("application/pdf", PDF))],
        {},
    ),
    "sound": (
        [user(["Hear", {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}])],
        {},
        [from_user("Hear", blob("audio/wav", WAV))],
        {},
    ),
    "film": (
        [user(["See", {"type": "video_url", "video_url": {"url": "https://www.youtube.com/watch?v=a"}}])],
        {},
        [from_user("See", at("https://www.youtube.com/watch?v=a"))],
        {},
    ),
    "file of google's": (
        [user(["Read", {"type": "file", "file": {"file_id": "files/abc", "format": "application/pdf"}}])],
        {},
        [from_user("Read", at("https://generativelanguage.googleapis.com/v1beta/files/abc", "application/pdf"))],
        {},
    ),
    "file in the cloud": (
        [user(["See", {"type": "video_url", "video_url": {"url": "gs://bucket/a.mp4"}}])],
        {},
        [from_user("See", at("gs://bucket/a.mp4", "video/mp4"))],
        {},
    ),
    "continuation": ("Hi", {"continuation_token": "dG9r"}, "Hi", {"continuation_token": b"tok"}),
    "civic answers": ("Hi", {"enable_enhanced_civic_answers": True}, "Hi", {"enable_enhanced_civic_answers": True}),
}
