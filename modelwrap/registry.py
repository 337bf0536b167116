"""Which class stands behind a `model_type`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from modelwrap.errors import ConfigError, UnknownModelType
from modelwrap.suggestions import nearest

ENTRY_POINTS = "modelwrap.models"
"""The group in which a package names its model types, as in `echo = "my_package:Echo"`."""

_targets: dict[str, str | type[Any]] = {
    "openai": "modelwrap.models.openai:OpenAI",
    "openai_completion": "modelwrap.models.openai_completion:OpenAICompletion",
    "openai_embedding": "modelwrap.models.openai_embedding:OpenAIEmbedding",
    "openai_dall_e": "modelwrap.models.openai_dall_e:OpenAIDallE",
    "azure_openai": "modelwrap.models.azure:AzureOpenAI",
    "azure_openai_embedding": "modelwrap.models.azure:AzureOpenAIEmbedding",
    "azure_openai_dall_e": "modelwrap.models.azure:AzureOpenAIDallE",
    "post_api": "modelwrap.models.post_api:PostAPI",
    "post_api_chat": "modelwrap.models.post_api:PostAPIChat",
    "post_api_dall_e": "modelwrap.models.post_api:PostAPIDallE",
    "post_api_embedding": "modelwrap.models.post_api:PostAPIEmbedding",
    "claude": "modelwrap.models.claude:Claude",
    "gemini": "modelwrap.models.gemini:Gemini",
    "gemini_embedding": "modelwrap.models.gemini_embedding:GeminiEmbedding",
    "llama_cpp": "modelwrap.local.llama_cpp:LlamaCpp",
    "transformers": "modelwrap.local.transformers.model:Transformers",
    "transformers_embedding": "modelwrap.local.transformers.embedding_model:TransformersEmbedding",
}
_aliases: dict[str, str] = {
    # AgentScope's other names, and its classes, which its files may name as well.
    "openai_chat": "openai",
    "OpenAIChatWrapper": "openai",
    "OpenAIDALLEWrapper": "openai_dall_e",
    "OpenAIEmbeddingWrapper": "openai_embedding",
    "post_api_dalle": "post_api_dall_e",
    "PostAPIChatWrapper": "post_api_chat",
    "PostAPIDALLEWrapper": "post_api_dall_e",
    "PostAPIEmbeddingWrapper": "post_api_embedding",
    "PostAPIModelWrapperBase": "post_api",
    "azure": "azure_openai",
    "azure_openai_chat": "azure_openai",
    "AzureOpenAIChatWrapper": "azure_openai",
    "anthropic": "claude",
    "anthropic_chat": "claude",
    "AnthropicChatWrapper": "claude",
    "google": "gemini",
    "gemini_chat": "gemini",
    "GeminiChatWrapper": "gemini",
    "GeminiEmbeddingWrapper": "gemini_embedding",
}


def register(model_type: str, target: str | type[Any], *, aliases: Sequence[str] = (), replace: bool = False) -> None:
    """Make a model type known under a name: a class, or `package.module:Class`, imported when first used.

    A name that is taken is an error, unless it is taken by the same target or `replace` says so.
    """
    _check_target(model_type, target)
    if isinstance(aliases, str):
        # A string is a sequence of its letters.
        raise ConfigError(f"model type {model_type!r}: aliases are a list, as in aliases=[{aliases!r}]")
    for name in (model_type, *aliases):
        known = _targets.get(canonical(name))
        if known is not None and known != target and not replace:
            raise ConfigError(f"model type {name!r} is registered already; register(…, replace=True) takes its place")
    _aliases.pop(model_type, None)
    _targets[model_type] = target
    for alias in aliases:
        _targets.pop(alias, None)
        _aliases[alias] = model_type


def resolve(model_type: str) -> type[Any]:
    """Give the class behind a model type, importing it if need be."""
    target = _targets.get(canonical(model_type)) or _from_entry_points(model_type)
    if target is None:
        raise UnknownModelType(_unknown(model_type))
    return _imported(model_type, target) if isinstance(target, str) else target


def canonical(model_type: str) -> str:
    """Give the name of which this may be an alias."""
    return _aliases.get(model_type, model_type)


def is_registered(model_type: str) -> bool:
    """Tell whether a name stands for a model type, without looking for packages that may bring it."""
    return canonical(model_type) in _targets


def names(*, aliases: bool = False) -> list[str]:
    """List the model types that a config may name."""
    known = {*_targets, *_entry_points()}
    return sorted(known | _aliases.keys() if aliases else known)


def aliases_of(model_type: str) -> list[str]:
    return sorted(alias for alias, name in _aliases.items() if name == model_type)


def _check_target(model_type: str, target: object) -> None:
    if not model_type or not isinstance(model_type, str):
        raise ConfigError("a model type is registered under a name, as in register('echo', Echo)")
    dotted = isinstance(target, str) and target.count(":") == 1 and all(target.split(":"))
    if not dotted and not isinstance(target, type):
        raise ConfigError(f"model type {model_type!r}: the target must be a class or 'package.module:Class'")
    if isinstance(target, type):
        _check_class(model_type, target)


def _check_class(model_type: str, found: object) -> type[Any]:
    if not isinstance(found, type) or not callable(getattr(found, "from_config", None)):
        raise ConfigError(f"model type {model_type!r}: its class needs a classmethod from_config(config)")
    return found


def _imported(model_type: str, target: str) -> type[Any]:
    module, _, name = target.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"model type {model_type!r} should be {target}, which cannot be imported: {error}") from error
    return _check_class(model_type, found)


def _entry_points() -> dict[str, str]:
    # Imported here because it takes long and is seldom needed.
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def _from_entry_points(model_type: str) -> str | None:
    return _entry_points().get(model_type)


def _unknown(model_type: str) -> str:
    meant = nearest(model_type, names(aliases=True))
    question = f"did you mean {meant!r}? " if meant else ""
    plugins = "" if meant else "; one of your own comes in by plugins=[…] or --plugin"
    return f"there is no model type {model_type!r}; {question}known are {', '.join(names())}{plugins}"
