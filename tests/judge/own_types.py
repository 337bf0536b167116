"""The vendors' own types of requests, with no field allowed that they do not name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter
from typing_extensions import is_typeddict


@cache
def claude() -> TypeAdapter[Any]:
    from anthropic import types as own

    _forbid_others(own)
    # What a reply holds may stand in a request, too.
    blocks = get_args(get_args(own.ContentBlock)[0])
    for block in blocks:
        _take(block, "forbid")
    adapter: TypeAdapter[Any] = TypeAdapter(own.MessageCreateParams)
    for block in blocks:
        _take(block, "allow")
    return adapter


@cache
def chat(*, stream: bool) -> TypeAdapter[Any]:
    from openai.types.chat import completion_create_params as own

    _forbid_others_of_openai()
    return TypeAdapter(own.CompletionCreateParamsStreaming if stream else own.CompletionCreateParamsNonStreaming)


@cache
def responses(*, stream: bool) -> TypeAdapter[Any]:
    from openai.types.responses import response_create_params as own

    _forbid_others_of_openai()
    return TypeAdapter(own.ResponseCreateParamsStreaming if stream else own.ResponseCreateParamsNonStreaming)


@cache
def gemini() -> type[BaseModel]:
    from google.genai import types as own

    assert own.Content.model_config.get("extra") == "forbid"

    class Request(BaseModel):
        model_config = ConfigDict(extra="forbid")
        contents: list[own.Content]
        systemInstruction: own.Content | None = None
        generationConfig: own.GenerationConfig | None = None
        tools: list[own.Tool] | None = None
        toolConfig: own.ToolConfig | None = None
        safetySettings: list[own.SafetySetting] | None = None
        cachedContent: str | None = None
        labels: dict[str, str] | None = None
        serviceTier: own.ServiceTier | None = None
        continuationToken: bytes | None = None
        store: bool | None = None

    Request.model_rebuild(_types_namespace={"own": own})
    return Request


def looked_through(value: Any) -> None:
    """Iterate over all that is validated only when it is iterated over."""
    if isinstance(value, dict):
        for item in value.values():
            looked_through(item)
    elif not isinstance(value, (str, int, float, type(None))):
        for item in value:
            looked_through(item)


@cache
def _forbid_others_of_openai() -> None:
    for name in ("chat", "responses", "shared_params"):
        _forbid_others(importlib.import_module(f"openai.types.{name}"))


def _forbid_others(package: Any) -> None:
    for kind in _everything_of(package):
        if is_typeddict(kind) and "__pydantic_config__" not in vars(kind):
            kind.__pydantic_config__ = ConfigDict(extra="forbid")


def _everything_of(package: Any) -> Iterator[Any]:
    for found in pkgutil.iter_modules(package.__path__):
        if not found.ispkg:
            yield from vars(importlib.import_module(f"{package.__name__}.{found.name}")).values()


def _take(kind: type[BaseModel], extra: Any) -> None:
    kind.model_config["extra"] = extra
    kind.model_rebuild(force=True)
