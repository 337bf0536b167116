"""A model in hand, and what its owner does otherwise than the library would: the names and defaults of troapis."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.local.transformers.entries import HOOKS, hooks_of
from modelwrap.local.transformers.parameters import GENERATION
from modelwrap.suggestions import nearest

Hook: TypeAlias = Callable[..., Any]

_HOOKS = ("encode", "decode", "generate", "apply_chat_template")


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Be everything of which answers are made; a hook is None where the library's own function serves."""

    model_name: str
    model: Any
    processor: Any = None
    tokenizer: Any = None
    encode: Hook | None = None
    encode_kwargs: Mapping[str, Any] = field(default_factory=dict)
    decode: Hook | None = None
    decode_kwargs: Mapping[str, Any] = field(default_factory=dict)
    generate: Hook | None = None
    generate_kwargs: Mapping[str, Any] = field(default_factory=dict)
    apply_chat_template: Hook | None = None
    apply_chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    end_of_text: Any = None
    """A text, a token, or several of these, that end an answer beside those that the model names."""
    batchable: bool = False
    """Whether the hooks take several conversations at once."""
    chat_template: str | None = None
    """In place of the model's own: the name of one, the path of a file, or its text."""

    @classmethod
    def of(cls, info: Any) -> Self:
        """Read a dict or an object with these names, of which `model_name` and `model` must be there.

        The tokenizer is the one given, else the processor's, else the one that the hub has under `model_name`.
        `ConfigError` names what is missing or what it should be.
        """
        given = _given(info)
        for name in ("model_name", "model"):
            if given.get(name) is None:
                raise ConfigError(f"model_info: {name} is missing")
        for name in _HOOKS:
            _check_hook(name, given)
        _check_objects(given)
        processor, tokenizer = _readers(given)
        own = _own_functions(given["model"], processor, tokenizer)
        hooks = {name: None if given.get(name) in own else given.get(name) for name in _HOOKS}
        if tokenizer is None and None in (hooks["encode"], hooks["decode"], hooks["apply_chat_template"]):
            tokenizer = _default_tokenizer(given["model_name"])
        return cls(**{**given, **hooks, "processor": processor, "tokenizer": tokenizer})

    @property
    def generates_itself(self) -> bool:
        """Whether answers come from `generate`, the hook's or the model's, and not from the batches made here."""
        from torch import nn

        # Others have modules with a config, too, which need not be like the library's.
        is_known = isinstance(self.model, nn.Module) and all(hasattr(self.model, name) for name in ("config", "device"))
        more = self.generate_kwargs.keys() - GENERATION
        return self.generate is not None or bool(more) or not is_known or self.tokenizer is None

    @property
    def sees(self) -> bool:
        """Whether the processor takes images."""
        return getattr(self.processor, "image_processor", None) is not None


def _given(info: Any) -> dict[str, Any]:
    for name in info.keys() - HOOKS if isinstance(info, Mapping) else ():
        if (meant := nearest(str(name), HOOKS)) is not None:
            raise ConfigError(f"model_info: unknown name {name!r}; did you mean {meant!r}?")
    return hooks_of(info)


def _check_hook(name: str, given: Mapping[str, Any]) -> None:
    if name in given and not callable(given[name]):
        raise ConfigError(f"model_info: {name} must be a function, not {type(given[name]).__name__}")
    named = given.get(f"{name}_kwargs", {})
    if not isinstance(named, Mapping):
        raise ConfigError(f"model_info: {name}_kwargs must be an object of names and values")


def _check_objects(given: Mapping[str, Any]) -> None:
    """Refuse names and classes in place of what they stand for."""
    for name in ("model", "tokenizer", "processor"):
        if isinstance(given.get(name), (str, type)):
            raise ConfigError(f"model_info: {name} must be an object that is loaded, not {given[name]!r:.60}")
    model = given["model"]
    writes = getattr(model, "can_generate", None)
    if "generate" not in given and callable(writes) and not writes() and getattr(model, "base_model", None) is model:
        raise ConfigError(
            f"model_info: a {type(model).__name__} has no part that writes text; load it by AutoModelForCausalLM"
        )


def _readers(given: Mapping[str, Any]) -> tuple[Any, Any]:
    """Give processor and tokenizer, whichever name they came under, and whichever of them lives inside the other."""
    processor, tokenizer = given.get("processor"), given.get("tokenizer")
    if processor is None and hasattr(tokenizer, "tokenizer"):
        processor, tokenizer = tokenizer, None
    if tokenizer is None and processor is not None:
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is None and hasattr(processor, "convert_ids_to_tokens"):
            processor, tokenizer = None, processor
    if tokenizer is not None and not hasattr(tokenizer, "convert_tokens_to_ids"):
        raise ConfigError(
            f"model_info: a {type(tokenizer).__name__} is no tokenizer of the library's; give its functions as hooks: "
            "apply_chat_template, encode and decode"
        )
    return processor, tokenizer


def _own_functions(model: Any, processor: Any, tokenizer: Any) -> list[Any]:
    """Give the functions that serve where no hook is given: who names them as hooks asks for nothing else."""
    own = [processor, tokenizer, getattr(model, "generate", None)]
    for reader in (processor, tokenizer):
        own += [getattr(reader, name, None) for name in ("decode", "apply_chat_template")]
    return [function for function in own if function is not None]


def _default_tokenizer(name: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingPackage(f'{name} needs transformers: pip install "modelwrap[transformers]"') from error
    try:
        return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"model_info: has neither tokenizer nor processor, and {name!r} names none: {reason}"
        ) from None


def taken(function: Hook, named: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of some arguments those that a function has no place for."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Functions written in C do not tell.
        return dict(named)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(named)
    known = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {name: value for name, value in named.items() if name in known}
