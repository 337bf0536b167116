"""Call any language model by a name from one JSON file, in OpenAI's format.

>>> import modelwrap
>>> modelwrap.init(model_configs="model_configs/openai.json")  # doctest: +SKIP
>>> modelwrap.get_model("gpt")("Name three rivers.").text  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from modelwrap.errors import (
        AllEndpointsFailed,
        AuthenticationFailed,
        BadRequest,
        CallError,
        ConfigError,
        ConnectionFailed,
        ContentFiltered,
        ContextTooLong,
        CredentialError,
        InvalidResponse,
        MissingPackage,
        MissingSecret,
        ModelwrapError,
        ModelwrapWarning,
        NotFound,
        Overloaded,
        PermissionDenied,
        QuotaExhausted,
        RateLimited,
        RealRequestForbidden,
        RedirectRefused,
        ReplayMismatch,
        ResponseTooLarge,
        ServerFailed,
        StreamFailed,
        StreamTruncated,
        TimedOut,
        TLSFailed,
        UnknownModel,
        UnknownModelType,
        UnsupportedParameter,
        WeightsUnavailable,
        WouldDeadlock,
    )
    from modelwrap.factory import Models, clear, get_model, init, load
    from modelwrap.given import from_entrypoint, from_transformers
    from modelwrap.local.transformers.entries import register_entry
    from modelwrap.models.base import Model
    from modelwrap.models.sdk_clients import register_sdk_client
    from modelwrap.models.streams import AsyncStream, Stream
    from modelwrap.registry import register
    from modelwrap.secrets import Secret
    from modelwrap.types import Change, ChatChunk, ChatReply, EmbeddingReply, ImageReply, Message, Reply, TokenUsage
    from modelwrap.wire.http import Timeouts

# Where each public name lives; it is imported when it is first touched, so that `import modelwrap` costs nothing.
_HOMES = {
    "modelwrap.errors": (
        "AllEndpointsFailed AuthenticationFailed BadRequest CallError ConfigError ConnectionFailed ContentFiltered "
        "ContextTooLong CredentialError InvalidResponse MissingPackage MissingSecret ModelwrapError ModelwrapWarning "
        "NotFound Overloaded PermissionDenied QuotaExhausted RateLimited RealRequestForbidden RedirectRefused "
        "ReplayMismatch ResponseTooLarge ServerFailed StreamFailed StreamTruncated TLSFailed TimedOut UnknownModel "
        "UnknownModelType UnsupportedParameter WeightsUnavailable WouldDeadlock"
    ),
    "modelwrap.factory": "Models clear get_model init load",
    "modelwrap.given": "from_entrypoint from_transformers",
    "modelwrap.local.transformers.entries": "register_entry",
    "modelwrap.models.base": "Model",
    "modelwrap.models.sdk_clients": "register_sdk_client",
    "modelwrap.models.streams": "AsyncStream Stream",
    "modelwrap.registry": "register",
    "modelwrap.secrets": "Secret",
    "modelwrap.types": "Change ChatChunk ChatReply EmbeddingReply ImageReply Message Reply TokenUsage",
    "modelwrap.wire.http": "Timeouts",
}

_home_of = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AllEndpointsFailed",
    "AsyncStream",
    "AuthenticationFailed",
    "BadRequest",
    "CallError",
    "Change",
    "ChatChunk",
    "ChatReply",
    "ConfigError",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextTooLong",
    "CredentialError",
    "EmbeddingReply",
    "ImageReply",
    "InvalidResponse",
    "Message",
    "MissingPackage",
    "MissingSecret",
    "Model",
    "Models",
    "ModelwrapError",
    "ModelwrapWarning",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "QuotaExhausted",
    "RateLimited",
    "RealRequestForbidden",
    "RedirectRefused",
    "ReplayMismatch",
    "Reply",
    "ResponseTooLarge",
    "Secret",
    "ServerFailed",
    "Stream",
    "StreamFailed",
    "StreamTruncated",
    "TLSFailed",
    "TimedOut",
    "Timeouts",
    "TokenUsage",
    "UnknownModel",
    "UnknownModelType",
    "UnsupportedParameter",
    "WeightsUnavailable",
    "WouldDeadlock",
    "__version__",
    "clear",
    "from_entrypoint",
    "from_transformers",
    "get_model",
    "init",
    "load",
    "register",
    "register_entry",
    "register_sdk_client",
]


def __getattr__(name: str) -> Any:
    home = _home_of.get(name)
    if home is None:
        raise AttributeError(f"module 'modelwrap' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
