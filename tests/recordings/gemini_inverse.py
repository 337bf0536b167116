"""Turn recorded Gemini requests into calls in OpenAI's format. It shares no code with the codec.

`plain` lays a request out in one spelling, for clients differ in what says the same: names with underscores, numbers in
place of words, `null` for nothing, an object for a list of one, base64 of two alphabets, roles that are not looked at,
and the older names of schemas, `parameters` and `responseSchema`, with their types in capitals.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

_FREE = ("args", "response", "responseJsonSchema", "parametersJsonSchema", "labels")
_SCHEMAS = {"parameters": "parametersJsonSchema", "responseSchema": "responseJsonSchema"}
_TYPES = {1: "string", 2: "number", 3: "integer", 4: "boolean", 5: "array", 6: "object"}


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """Write a request in the one spelling in which requests are compared."""
    body = _plain(body)
    body.pop("model", None)
    for content in [*body.get("contents", []), body.get("systemInstruction") or {}]:
        content["parts"] = content["parts"] if isinstance(content.get("parts"), list) else [content.get("parts")]
    system = body.get("systemInstruction") or {}
    system.pop("role", None)
    if system.get("parts") in ([{"text": ""}], [None]):
        del body["systemInstruction"]
    for content in body.get("contents", []):
        content["role"] = "model" if content.get("role") == "model" else "user"
    if isinstance(body.get("tools"), dict):
        body["tools"] = [body["tools"]]
    # All functions stand in the last tool.
    body["tools"] = sorted(body.get("tools", []), key=lambda tool: "functionDeclarations" in tool)
    calling = body.get("toolConfig", {}).get("functionCallingConfig")
    if calling:
        calling["mode"] = calling["mode"].upper()
    config = body.get("generationConfig", {})
    if isinstance(config.get("maxOutputTokens"), str):
        config["maxOutputTokens"] = int(config["maxOutputTokens"])
    return {name: value for name, value in body.items() if value not in ({}, [])}


def _plain(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if name in ("thoughtSignature", "data") and isinstance(value, str):
        return _usual_base64(value)
    if not isinstance(value, dict):
        return value
    written: dict[str, Any] = {}
    for key, item in value.items():
        key = re.sub(r"_([a-z])", lambda found: found[1].upper(), key)
        if item is None or (key == "thought" and item is False):
            continue
        if key in _SCHEMAS or key in _FREE:
            written[_SCHEMAS.get(key, key)] = _schema(item) if key in _SCHEMAS else item
        else:
            written[key] = _plain(item, key)
    if written.get("description") == "":
        del written["description"]
    return written


def _schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    written = {name: _schema(item) for name, item in schema.items()}
    kind = written.get("type")
    if isinstance(kind, (str, int)):
        written["type"] = _TYPES.get(kind) if isinstance(kind, int) else kind.lower()
    return written


def _usual_base64(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9+/_=-]+", text) is None or "REDACTED" in text:
        return text
    data = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    return base64.b64encode(data).decode()


@dataclass
class Call:
    """Be a call in OpenAI's format."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)


def call_for(body: dict[str, Any], platform: str = "") -> Call:
    """Give the call that asks for what a recorded request asks for; signatures are of the platform that it went to."""
    body = plain(body)
    call = Call()
    if "systemInstruction" in body:
        call.messages.append({"role": "system", "content": _content(body["systemInstruction"]["parts"])})
    for number, content in enumerate(body["contents"]):
        call.messages += _messages(content, number, call.messages)
    for message in call.messages:
        if platform and message["role"] == "assistant":
            message.setdefault("extra_content", {}).setdefault("google", {})["platform"] = platform
    call.parameters = _parameters(body)
    return call


def _messages(content: dict[str, Any], number: int, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if content["role"] == "model":
        return [_answer(content["parts"], number)]
    results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
    if not results:
        return [{"role": "user", "content": _content(content["parts"])}]
    called = next(message for message in reversed(before) if message.get("tool_calls"))["tool_calls"]
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result["response"])}
        for call, result in zip(called, results, strict=True)
    ]


def _answer(parts: list[dict[str, Any]], number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for place, part in enumerate(parts):
        signed = {}
        if "thoughtSignature" in part:
            signed = {"extra_content": {"google": {"thought_signature": part["thoughtSignature"]}}}
        if "functionCall" in part:
            called = part["functionCall"]
            function = {"name": called["name"], "arguments": json.dumps(called["args"])}
            call_id = called.get("id") or f"call_gemini_{number}_{place}"
            message.setdefault("tool_calls", []).append(
                {"id": call_id, "type": "function", "function": function, **signed}
            )
        else:
            message["content"] = (message["content"] or "") + part["text"]
            message.update(signed)
    return message


def _content(parts: list[dict[str, Any]]) -> Any:
    if len(parts) == 1 and set(parts[0]) == {"text"}:
        return parts[0]["text"]
    return [_part(part) for part in parts]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    if "fileData" in part:
        file = part["fileData"]
        return {"type": "video_url", "video_url": {"url": file["fileUri"], "mime_type": file["mimeType"]}}
    blob = part["inlineData"]
    family, _, kind = blob["mimeType"].partition("/")
    url = f"data:{blob['mimeType']};base64,{blob['data']}"
    if family == "audio":
        return {"type": "audio_url", "audio_url": {"url": url}}
    if family == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": f"file.{kind}", "file_data": url}}


_NAMES = {
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "candidateCount": "n",
    "responseLogprobs": "logprobs",
}


def _parameters(body: dict[str, Any]) -> dict[str, Any]:
    config = dict(body.get("generationConfig", {}))
    parameters = {
        name: value
        for name, value in body.items()
        if name not in ("contents", "systemInstruction", "generationConfig", "tools", "toolConfig")
    }
    schema = config.pop("responseJsonSchema", None)
    if config.pop("responseMimeType", None) == "application/json":
        shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        parameters["response_format"] = shape if schema else {"type": "json_object"}
    if modalities := config.pop("responseModalities", None):
        parameters["modalities"] = [kind.lower() for kind in modalities]
    for name, value in config.items():
        parameters[_NAMES.get(name) or re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)] = value
    if "tools" in body:
        parameters["tools"] = [tool for given in body["tools"] for tool in _tools(given)]
    choice = body.get("toolConfig", {})
    mode = choice.get("functionCallingConfig", {}).get("mode")
    if mode in ("AUTO", "NONE") and choice == {"functionCallingConfig": {"mode": mode}}:
        parameters["tool_choice"] = mode.lower()
    elif choice:
        parameters["tool_config"] = choice
    return parameters


def _tools(tool: dict[str, Any]) -> list[dict[str, Any]]:
    if "functionDeclarations" not in tool:
        return [tool]
    return [{"type": "function", "function": _function(declared)} for declared in tool["functionDeclarations"]]


def _function(declared: dict[str, Any]) -> dict[str, Any]:
    written = dict(declared)
    if "parametersJsonSchema" in written:
        written["parameters"] = written.pop("parametersJsonSchema")
    return written


# Embeddings.


def plain_texts(body: dict[str, Any]) -> dict[str, Any]:
    """Write a request for vectors in the one spelling in which they are compared."""
    body = _plain(body)
    body.pop("model", None)
    for holder in [body, *body.get("requests", [])]:
        if isinstance(holder.get("content"), dict):
            holder["content"].pop("role", None)
    return body


def texts_for(body: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give what is to be embedded and the parameters, for a recorded request of any of the three operations."""
    body = plain_texts(body)
    if "instances" in body:
        parameters = body.get("parameters", body.get("parametersJsonSchema", {}))
        return [instance["content"] for instance in body["instances"]], _dimensions(parameters)
    if "requests" in body:
        beside = {name: value for name, value in body["requests"][0].items() if name not in ("model", "content")}
        return [_text(request["content"]) for request in body["requests"]], _dimensions(beside)
    return _text(body["content"]), _dimensions({name: value for name, value in body.items() if name != "content"})


def _text(content: dict[str, Any]) -> Any:
    return content["parts"][0]["text"] if len(content["parts"]) == 1 else content


def _dimensions(parameters: dict[str, Any]) -> dict[str, Any]:
    names = {"outputDimensionality": "dimensions", "taskType": "task_type"}
    return {names.get(name, name): value for name, value in parameters.items()}
