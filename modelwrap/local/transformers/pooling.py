"""How vectors of tokens become one of a text: what a model's own files say of it, in sentence-transformers' form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelwrap.errors import BadRequest, ConfigError
from modelwrap.local.transformers.loading import json_of, object_of

PARAMETERS = frozenset(("dimensions", "encoding_format", "prompt", "prompt_name"))
"""The names of all parameters of a call for vectors."""

# In the order in which they stand in a vector that is made of several.
_MODES = {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
    "lasttoken": "lasttoken",
}
_BY_SHORTER_NAME = {"last": "lasttoken"}


@dataclass(frozen=True, slots=True)
class Layer:
    """Be a linear layer behind the pooling, whose weights lie in a folder of their own."""

    folder: str
    activation: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Say which part of a text is read, and what is made of what the model gives for its tokens."""

    modes: tuple[str, ...] = ("mean",)
    layers: tuple[Layer, ...] = ()
    normalize: bool = False
    longest: int | None = None
    """How many tokens of a text count, where the files say so."""
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    usual_prompt: str | None = None
    pools_prompt: bool = True
    guessed: tuple[str, ...] = ()
    """What no file says, and what is done instead."""

    @classmethod
    def of(cls, folder: str, context: int | None, pooling: str | None, normalize: bool | None) -> Reading:
        """Read a model's files, under what a config says otherwise."""
        root = Path(folder)
        modules = _modules(root / "modules.json")
        pooled = _Pooling.of(root, modules, pooling)
        sizes = _of_transformer(root, modules)
        prompts = object_of(root / "config_sentence_transformers.json")
        return cls(
            modes=pooled.modes,
            layers=tuple(_layers(root, modules)),
            normalize=_normalizes(modules) if normalize is None else normalize,
            longest=context or sizes.get("max_seq_length"),
            lower_case=bool(sizes.get("do_lower_case")),
            prompts=prompts.get("prompts") or {},
            usual_prompt=prompts.get("default_prompt_name"),
            pools_prompt=pooled.with_prompt,
            guessed=pooled.guessed,
        )

    def prompt_of(self, body: Mapping[str, Any]) -> str:
        """Give what stands in front of each text: what a call says, or names, or what the model usually has there."""
        given, name = body.get("prompt"), body.get("prompt_name")
        if given is not None and name is not None:
            raise BadRequest("prompt: is given, and so is prompt_name; keep one", sent=False)
        if given is not None:
            if not isinstance(given, str):
                raise BadRequest("prompt: must be text", sent=False)
            return given
        name = self.usual_prompt if name is None else name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts)) or "none"
            raise BadRequest(f"prompt_name: this model has no prompt {name!r}; it has {known}", sent=False)
        return self.prompts[name]


PART_WEIGHTS = "model.safetensors"
"""The file that holds the weights of a further part of a model, in the folder of that part."""


@dataclass(frozen=True, slots=True)
class _Pooling:
    modes: tuple[str, ...]
    with_prompt: bool = True
    guessed: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Path, modules: Sequence[Mapping[str, Any]], wanted: str | None) -> _Pooling:
        places = _of_kind(modules, "Pooling")
        said = object_of(root / places[0] / "config.json") if places else {}
        with_prompt = said.get("include_prompt", True)
        if wanted is not None:
            return cls((_BY_SHORTER_NAME.get(wanted, wanted),), with_prompt)
        if not said:
            return cls(("mean",), guessed=("the model's files do not say how, so it is the mean over tokens",))
        modes = _modes(said)
        if not modes:
            raise ConfigError(f'{places[0]}/config.json: names no pooling that is known here; say "pooling"')
        return cls(modes, with_prompt)


def _modes(said: Mapping[str, Any]) -> tuple[str, ...]:
    if (named := said.get("pooling_mode")) is not None:
        several = (named,) if isinstance(named, str) else tuple(named)
        return several if all(mode in _MODES for mode in several) else ()
    return tuple(mode for mode, written in _MODES.items() if said.get(f"pooling_mode_{written}"))


def _of_transformer(root: Path, modules: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Read what files say of the texts that go in."""
    places = _of_kind(modules, "Transformer")
    return object_of(root / (places[0] if places else "") / "sentence_bert_config.json")


def _layers(root: Path, modules: Sequence[Mapping[str, Any]]) -> list[Layer]:
    return [
        Layer(str(root / place), object_of(root / place / "config.json").get("activation_function", "Tanh"))
        for place in _of_kind(modules, "Dense")
    ]


def has_parts(folder: Path) -> bool:
    """Tell whether the weights of all further parts of a model are here."""
    places = _of_kind(_modules(folder / "modules.json"), "Dense")
    return all((folder / place / PART_WEIGHTS).is_file() for place in places)


def _normalizes(modules: Sequence[Mapping[str, Any]]) -> bool:
    return bool(_of_kind(modules, "Normalize"))


def _modules(path: Path) -> list[dict[str, Any]]:
    modules = json_of(path)
    if modules is None:
        return []
    if not (isinstance(modules, list) and all(isinstance(module, dict) for module in modules)):
        raise ConfigError(f"{path}: should be a list of a model's parts, and is not")
    return modules


_KINDS = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")


def _of_kind(modules: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """Give the folders of a model's parts of one kind; `ConfigError` where it has a part that is not known here."""
    found = []
    for module in modules:
        named = str(module.get("type", "")).rpartition(".")[2]
        if named not in _KINDS:
            raise ConfigError(f"modules.json: has a part of the kind {named}, which is not known here")
        if named == kind:
            found.append(str(module.get("path", "")))
    return found
