"""Where the files of a model are: in a folder, in a GGUF file, or on a hub, from which they are fetched."""

from __future__ import annotations

import glob
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

from modelwrap.errors import ConfigError, MissingPackage, ModelwrapError, WeightsUnavailable
from modelwrap.local import weights
from modelwrap.local.hub import check_endpoint
from modelwrap.local.hub_folder import HubFolder
from modelwrap.local.progress import Progress
from modelwrap.local.sources import Place, brought, expanded, is_file, is_folder
from modelwrap.local.transformers.config import LoadingArgs, TransformersEmbeddingConfig, WeightsConfig
from modelwrap.local.transformers.loading import Checkpoint, has_tokenizer, no_weights, object_of
from modelwrap.local.transformers.pooling import PART_WEIGHTS, has_parts
from modelwrap.secrets import Scrubber, Secret, reveal

_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^@\s]+))?", re.ASCII)
_LIKE_A_PATH = re.compile(r"[/\\.~]|[A-Za-z]:[/\\]")

_NEEDED = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
_NUMBERS = "*.safetensors"
_PICKLED = "*.bin"
_CODE = "*.py"
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
# The same weights once more, for other programs.
_FOR_OTHERS = ["onnx/*", "openvino/*", "coreml/*", "original/*", "consolidated*", "training_args.bin", "optimizer*"]

# What says where a model comes from or where it goes, and not how it is loaded.
_ABOUT_PLACES = {"revision", "token", "cache_dir", "local_files_only", "low_cpu_mem_usage", "device"}
_OF_REPOSITORIES = {"revision", "token", "cache_dir"}
_OF_FOLDERS = {"subfolder", "variant"}
_LOADING = [name for name in LoadingArgs.__annotations__ if name not in _ABOUT_PLACES]


def checkpoint_of(config: WeightsConfig, progress: Progress | None = None) -> Checkpoint:
    """Fetch a model's files if they are not here, and say how they are loaded."""
    path = fetched(config, progress)
    of_file = path.is_file()
    given = {name: getattr(config.client_args, name) for name in _LOADING}
    return Checkpoint(
        name=config.model,
        folder=str(path.parent if of_file else path),
        gguf_file=path.name if of_file else None,
        arguments={name: value for name, value in given.items() if value is not None},
        chat_template=defaults_of(config.model).get("chat_template"),
    )


def defaults_of(model: str) -> Mapping[str, Any]:
    """Give what a config that names these weights means where it says nothing."""
    return weights.defaults_of(model) if _is_source(model) else {}


def check(config: WeightsConfig) -> None:
    """Raise `ConfigError` where a config names no place for weights, as far as that is known without looking there."""
    if _is_source(config.model):
        weights.parse(config.model)
        kind, idle = "file", _OF_REPOSITORIES | _OF_FOLDERS
    elif isinstance(place_of(config), _Folder):
        kind, idle = "folder", _OF_REPOSITORIES
    else:
        return
    for name in sorted(idle & config.client_args.model_fields_set):
        raise ConfigError(
            f"client_args.{name}: is for repositories, and {config.model} names a {kind} on this machine; leave it out"
        )


def find(config: WeightsConfig) -> Path | None:
    """Give the folder or the GGUF file of a model if it is on this machine; touches no network."""
    return weights.find(config.model) if _is_source(config.model) else place_of(config).find()


def fetched(config: WeightsConfig, progress: Progress | None = None) -> Path:
    """Give the folder or the GGUF file of a model, which is fetched first if it is not on this machine."""
    if _is_source(config.model):
        return weights.resolve(config.model, progress=progress)
    return brought(place_of(config), config.model, progress)


def _is_source(model: str) -> bool:
    """Tell whether it is one of the names that files and packages of weights have."""
    return weights.is_remote(model) or model.lower().endswith(".gguf")


def place_of(config: WeightsConfig) -> Place:
    """Read what a config says of where its model is; `ConfigError` where that is no place."""
    args = config.client_args
    folder = expanded(config.model)
    if is_folder(folder) or _LIKE_A_PATH.match(config.model):
        return _Folder(folder)
    found = _REPOSITORY.fullmatch(config.model)
    if found is None:
        raise ConfigError(f"model: {config.model} is no folder here, and no repository, which is organisation/name")
    if found["revision"] and args.revision not in (None, found["revision"]):
        raise ConfigError('model: names another revision than "client_args.revision"; keep one')
    kind = _ModelScope if config.hub == "modelscope" else _HuggingFace
    in_parts = isinstance(config, TransformersEmbeddingConfig)
    return kind(found["repo"], found["revision"] or args.revision, args, in_parts)


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path

    def find(self) -> Path | None:
        return self.path if is_folder(self.path) else None

    def fetch(self, progress: Progress) -> Path:
        if is_file(self.path):
            raise WeightsUnavailable("is a file; give the folder that it lies in, or a .gguf file")
        raise WeightsUnavailable("no such folder" + ("" if self.path.is_absolute() else f" (looked in {Path.cwd()})"))


@dataclass(frozen=True, slots=True)
class _Repository(ABC):
    """Be a repository of a hub."""

    repo: str
    revision: str | None
    args: LoadingArgs
    in_parts: bool = False
    """Whether further parts of the model may lie in folders beside it, as behind those that make vectors."""

    def find(self) -> Path | None:
        folder = self.cached()
        if folder is None or not is_whole(folder, self.args):
            return None
        return folder if not self.in_parts or has_parts(folder) else None

    def fetch(self, progress: Progress) -> Path:
        if self.args.local_files_only:
            raise WeightsUnavailable("is not on this machine, and client_args.local_files_only forbids to fetch it")
        folder = self.brought(progress)
        if not _weights_in(folder, self.args):
            raise WeightsUnavailable(no_weights(use_safetensors=self.args.use_safetensors))
        return folder

    @abstractmethod
    def cached(self) -> Path | None:
        """Give the folder that the hub's own programs have of it, whole or not."""

    @abstractmethod
    def brought(self, progress: Progress) -> Path:
        """Fetch what is not here; what has come stays, whatever happens."""

    @property
    def token(self) -> str | None:
        return reveal(self.args.token) or None if self.args.token is not None else None

    @property
    def wanted(self) -> list[str]:
        """The files that are fetched, as patterns."""
        code = [_CODE] if self.args.trust_remote_code else []
        parts = [f"*/{PART_WEIGHTS}"] if self.in_parts else []
        return [*_NEEDED, f"{self._inner}{_kind(self.args)}", *parts, *code]

    @property
    def unwanted(self) -> list[str]:
        """Which of these are left out, as patterns: other forms of the weights, steps on the way to them."""
        return _FOR_OTHERS if self.in_parts else [*_FOR_OTHERS, f"{self._inner}*/{_kind(self.args)}"]

    @property
    def _inner(self) -> str:
        return f"{glob.escape(self.args.subfolder.strip('/'))}/" if self.args.subfolder else ""


class _HuggingFace(_Repository):
    def find(self) -> Path | None:
        found = self._folder.find()
        return found if found is not None and _weights_in(found, self.args) else super().find()

    def cached(self) -> Path | None:
        return self._folder.of_hub()

    def brought(self, progress: Progress) -> Path:
        return self._folder.fetch(progress)

    @property
    def _folder(self) -> HubFolder:
        cache = expanded(self.args.cache_dir) if self.args.cache_dir else None
        return HubFolder(self.repo, self.revision or "main", self.wanted, self.unwanted, cache, self.args.token or None)


class _ModelScope(_Repository):
    def cached(self) -> Path | None:
        hub = _library("modelscope_hub", "modelscope")
        try:
            api = hub.HubApi(self._settings(hub))
            return Path(api.download_repo(self.repo, "model", local_files_only=True, **self._place))
        except (hub.HubError, OSError):
            # Why the disk has it not, a fetch will say.
            return None

    def brought(self, progress: Progress) -> Path:
        hub = _library("modelscope_hub", "modelscope")
        settings = self._settings(hub)
        scrub = Scrubber([Secret(settings.token)] if settings.token else [])
        try:
            # It draws bars of its own, whatever else is told how far it is.
            return Path(hub.HubApi(settings).download_repo(self.repo, "model", **self._place))
        except ModelwrapError:
            raise
        except Exception as error:  # it lets through what its HTTP client and the disk raise
            words = scrub(" ".join(str(error).split()))[:300]
            said = f"{self._advice(hub, error)} ({type(error).__name__}: {words})"
        # Not chained to that error, which may repeat a token that the server repeated.
        raise WeightsUnavailable(said)

    @property
    def _place(self) -> dict[str, Any]:
        patterns = {"allow_patterns": self.wanted, "ignore_patterns": self.unwanted}
        return {"revision": self.revision, "cache_dir": self.args.cache_dir, **patterns}

    def _settings(self, hub: Any) -> Any:
        # Read now: the library keeps what it read first. Of the older name it would warn at each use.
        endpoint = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or None
        if endpoint is not None and "://" in endpoint:
            with_token = bool(self.token or os.environ.get("MODELSCOPE_API_TOKEN"))
            check_endpoint("MODELSCOPE_ENDPOINT", endpoint, with_token=with_token)
        return hub.HubConfig(endpoint=endpoint, token=self.token)

    def _advice(self, hub: Any, error: BaseException) -> str:
        if isinstance(error, hub.NotExistError):
            named = f" or no revision {self.revision}" if self.revision else ""
            return f"there is no such repository{named}, or it is not for everyone: then MODELSCOPE_API_TOKEN is needed"
        if isinstance(error, (hub.AuthenticationError, hub.PermissionDeniedError)):
            return "MODELSCOPE_API_TOKEN names the token of an account that may read it"
        if getattr(error, "filename", None) or any(os.strerror(number) in str(error) for number in (ENOSPC, EDQUOT)):
            return "what has come is kept; free some room, or name another folder in MODELSCOPE_CACHE"
        return (
            "what has come is kept; connect to a network, name another host in MODELSCOPE_ENDPOINT, or give a folder "
            "instead"
        )


def _library(name: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackage(f'to fetch this model takes {name}: pip install "modelwrap[{extra}]"') from error


def is_whole(folder: Path, args: LoadingArgs) -> bool:
    """Tell whether a folder of a hub's cache has all that is loaded of it; a download may have stopped half way."""
    inner = folder / (args.subfolder or "")
    parts = any(inner.glob("*.incomplete"))
    return not parts and (inner / "config.json").is_file() and has_tokenizer(inner) and _weights_in(folder, args)


def _weights_in(folder: Path, args: LoadingArgs) -> bool:
    """Tell whether a folder has weights, and of weights in shards all."""
    inner = folder / (args.subfolder or "")
    index = next(iter(sorted(inner.glob(f"{_kind(args)}.index*.json"))), None)
    if index is None:
        # A shard without the list of all is a beginning, and a link may outlive what it leads to.
        return any(is_file(path) and not _SHARD.search(path.name) for path in inner.glob(_kind(args)))
    shards = object_of(index).get("weight_map")
    return isinstance(shards, dict) and all((inner / str(shard)).is_file() for shard in shards.values())


def _kind(args: LoadingArgs) -> str:
    return _NUMBERS if args.use_safetensors else _PICKLED
