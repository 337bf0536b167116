"""The vendors' clients that a config may name as its `sdk_client`: a closed list, and what plugins add to it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeAlias

from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.suggestions import nearest

Wire: TypeAlias = Literal["openai", "claude"]
Target: TypeAlias = str | Callable[..., Any]
"""A client's class, or what makes one: itself, or `package.module:name`."""

# What we give such a client ourselves, and what has no form in JSON or no part in a call.
_NOT_FROM_CONFIGS = frozenset(
    {
        *("self", "http_client", "timeout", "max_retries", "middleware", "open_telemetry", "credentials", "config"),
        *("workload_identity", "provider", "websocket_base_url", "webhook_secret", "webhook_key", "admin_api_key"),
    }
)
_UNFIT = re.compile(r"^_|_provider$")


@dataclass(frozen=True, slots=True)
class SdkClient:
    """Name a vendor's client in both colours, and the wire that it speaks."""

    wire: Wire
    blocking: Target
    concurrent: Target
    extra: str = ""
    """The extra of this package that installs it."""
    takes_media_urls: bool = True
    """Whether what is behind it fetches media that stand in messages as URLs."""


def _openai(name: str, extra: str = "openai") -> SdkClient:
    return SdkClient("openai", f"openai:{name}", f"openai:Async{name}", extra)


def _anthropic(name: str, extra: str = "anthropic", *, takes_media_urls: bool = True) -> SdkClient:
    return SdkClient("claude", f"anthropic:{name}", f"anthropic:Async{name}", extra, takes_media_urls)


_known: dict[str, SdkClient] = {
    "OpenAI": _openai("OpenAI"),
    "AzureOpenAI": _openai("AzureOpenAI"),
    "BedrockOpenAI": _openai("BedrockOpenAI", "openai,bedrock"),
    "Anthropic": _anthropic("Anthropic"),
    "AnthropicAWS": _anthropic("AnthropicAWS", "anthropic,bedrock"),
    "AnthropicBedrock": _anthropic("AnthropicBedrock", "anthropic,bedrock", takes_media_urls=False),
    "AnthropicBedrockMantle": _anthropic("AnthropicBedrockMantle", "anthropic,bedrock", takes_media_urls=False),
    "AnthropicFoundry": _anthropic("AnthropicFoundry"),
    "AnthropicGoogleCloud": _anthropic("AnthropicGoogleCloud", "anthropic,vertex"),
    "AnthropicVertex": _anthropic("AnthropicVertex", "anthropic,vertex", takes_media_urls=False),
}


def register_sdk_client(
    name: str, blocking: Target, concurrent: Target, *, wire: Wire = "openai", takes_media_urls: bool = True
) -> None:
    """Let configs name a client of one's own as their `sdk_client`.

    `blocking` and `concurrent` are subclasses of `OpenAI` and `AsyncOpenAI` (for the wire `claude`: of `Anthropic` and
    `AsyncAnthropic`), or functions that give such clients; each must send through the `http_client` that it is given.
    """
    client = SdkClient(wire, blocking, concurrent, takes_media_urls=takes_media_urls)
    if _known.get(name, client) != client:
        raise ConfigError(f"sdk_client {name!r} is registered already")
    _known[name] = client


def names(wire: Wire) -> list[str]:
    return sorted(name for name, client in _known.items() if client.wire == wire)


def find(name: str, wire: Wire) -> SdkClient:
    """Give the client of a name; `ConfigError` says what is meant where there is none for this wire."""
    client = _known.get(name)
    if client is not None and client.wire == wire:
        return client
    known = names(wire)
    meant = nearest(name, known)
    question = f'did you mean "{meant}"? ' if meant else ""
    raise ConfigError(f"there is no such client for this model type; {question}known are {', '.join(known)}")


def imported(target: Target, name: str, extra: str) -> Callable[..., Any]:
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if extra:
            raise MissingPackage(f'sdk_client {name} needs a package: pip install "modelwrap[{extra}]"') from error
        raise ConfigError(f"sdk_client {name} should be {target}, which cannot be imported: {error}") from error
    return found


def arguments_of(make: Callable[..., Any]) -> list[str] | None:
    """List the arguments by which a config may shape a client; None where it takes any."""
    parameters = inspect.signature(make).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return None
    return sorted(one.name for one in parameters if not (one.name in _NOT_FROM_CONFIGS or _UNFIT.search(one.name)))
