"""What computes the jobs of a config: runners in threads of this process, or in processes of their own."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from modelwrap.errors import ConfigError, WouldDeadlock
from modelwrap.local.messages import Recipe
from modelwrap.local.process_worker import ProcessWorker
from modelwrap.local.progress import Progress
from modelwrap.local.transformers import entries
from modelwrap.local.transformers.config import TransformersConfig, TransformersEmbeddingConfig, WeightsConfig
from modelwrap.local.transformers.hubs import checkpoint_of
from modelwrap.local.transformers.loading import Checkpoint, Loaded, check_installed, first_device, load, load_encoder
from modelwrap.local.transformers.pooling import Reading
from modelwrap.local.work import Runner
from modelwrap.local.workers import ThreadWorker, Worker
from modelwrap.runtime.lock import Lock


class Builder(ABC):
    """Make workers for one config. It knows nothing of the model whose jobs they compute, which may be forgotten."""

    kind: str

    def __init__(self, config: WeightsConfig) -> None:
        self._config = config
        self._lock = Lock()
        self._checkpoint: Checkpoint | None = None
        self._live: list[Callable[[], Any]] = []

    def worker(self, device: str) -> Worker:
        name = f"{self._config.config_name} on {device}"
        if self._config.worker == "process":
            return ProcessWorker(Recipe(self.kind, self.settings(), device), name)
        return ThreadWorker(lambda: self.runner(device), name)

    @abstractmethod
    def runner(self, device: str) -> Runner:
        """Load the model, and give what computes its jobs in the thread that asks."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Give what a process of its own needs to know to make a runner; fetches what is not here."""

    def check(self) -> None:
        """Raise `MissingPackage` where what computes is not installed; better before a model is fetched than after."""
        check_installed(self._config.model)

    @property
    def is_prepared(self) -> bool:
        """Whether there is nothing left to fetch, as far as it is known."""
        return self._checkpoint is not None or not self.needs_files

    def prepare(self, progress: Progress | None = None) -> None:
        """Fetch what is not here, as far as it is known."""
        if not self.is_prepared:
            self.checkpoint(progress)

    @property
    def needs_files(self) -> bool:
        """Whether weights are loaded for sure."""
        return True

    def checkpoint(self, progress: Progress | None = None) -> Checkpoint:
        """Fetch what is not here, and say where it is."""
        # Without the lock, which others need meanwhile; a file is fetched by one of all who want it.
        checkpoint = self._checkpoint or checkpoint_of(self._config, progress)
        with self._lock:
            self._checkpoint = self._checkpoint or checkpoint
            return self._checkpoint

    def forget(self) -> None:
        """Look anew, at the next time, for where everything is."""
        with self._lock:
            self._checkpoint = None
            self._live = []

    def remember(self, model: Any) -> None:
        """Keep in mind a model that computes here, no longer than it lives."""
        try:
            live: Callable[[], Any] = weakref.ref(model)
        except TypeError:
            # Not everything that can be a model can be forgotten so; whoever gave it holds it anyway.
            def live() -> Any:
                return model

        with self._lock:
            self._live = [*(known for known in self._live if known() is not None), live]

    def live(self) -> Any:
        """Give a model that computes here; None where there is none."""
        with self._lock:
            return next((model for known in self._live if (model := known()) is not None), None)


class ChatBuilder(Builder):
    """Make what answers: of a config's weights, of what a plugin registered, or of objects that somebody holds."""

    kind = "transformers"

    def __init__(self, config: TransformersConfig, given: entries.Given | None = None) -> None:
        super().__init__(config)
        self._settings = config
        self._given = given

    @property
    def needs_files(self) -> bool:
        return self._given is None and self._settings.entry is None

    def settings(self) -> dict[str, Any]:
        checkpoint = asdict(self.checkpoint()) | {"chat_template": self._template()}
        return {"checkpoint": checkpoint, **_named(self._settings, "batch_size", "context", "n_threads")}

    def runner(self, device: str) -> Runner:
        info = self._info(device)
        if info is None:
            info = self._loaded(device)
        elif not entries.brings_model(info):
            info = entries.laid_over(info, self._loaded(device))
        elif self._settings.chat_template is not None and entries.attribute(info, "inference") is None:
            info = entries.laid_over({"chat_template": self._settings.chat_template}, info)
        if (model := entries.attribute(info, "model")) is not None:
            self.remember(model)
        wanted = _named(self._settings, "batch_size", "context", "n_threads")
        return _chat_runner(info, wanted, device, lends_tensors=self._settings.batching == "off")

    def _info(self, device: str) -> Any:
        """Give the objects that the model is made of, or a part of it; None where all comes from files."""
        if self._settings.entry is not None:
            target, name = entries.entry(self._settings.entry), f"entry {self._settings.entry!r}"
        elif self._given is not None:
            target, name = self._given.info, self._settings.config_name
        else:
            return None
        device = first_device() if device == "auto" else device
        try:
            info = entries.made(target, self._settings.entry_args, device)
            if (activate := entries.attribute(info, "activate")) is not None:
                activate(device)
        except (ConfigError, WouldDeadlock):
            raise
        except Exception as error:  # it is somebody else's code, and whatever it raises there is no model
            raise ConfigError(f"{name}: {type(error).__name__}: {error}") from error
        return info

    def _loaded(self, device: str) -> Loaded:
        return load(Checkpoint(**self.settings()["checkpoint"]), device)

    def _template(self) -> str | None:
        return self._settings.chat_template or self.checkpoint().chat_template


class EmbeddingBuilder(Builder):
    """Make what gives vectors of texts."""

    kind = "transformers_embedding"

    def __init__(self, config: TransformersEmbeddingConfig) -> None:
        super().__init__(config)
        self._settings = config

    def settings(self) -> dict[str, Any]:
        wanted = _named(self._settings, "batch_size", "context", "pooling", "normalize", "n_threads")
        return {"checkpoint": asdict(self.checkpoint()), **wanted}

    def runner(self, device: str) -> Runner:
        loaded = load_encoder(self.checkpoint(), device)
        self.remember(loaded.model)
        return _embedding_runner(loaded, self.settings(), device)


def chat_runner(settings: Mapping[str, Any], device: str) -> Runner:
    """Make, in a process of its own, what answers."""
    loaded = load(Checkpoint(**settings["checkpoint"]), device)
    return _chat_runner(loaded, settings, device)


def embedding_runner(settings: Mapping[str, Any], device: str) -> Runner:
    """Make, in a process of its own, what gives vectors."""
    return _embedding_runner(load_encoder(Checkpoint(**settings["checkpoint"]), device), settings, device)


def _named(settings: WeightsConfig, *names: str) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


def _chat_runner(info: Any, settings: Mapping[str, Any], device: str, *, lends_tensors: bool = False) -> Runner:
    from modelwrap.local.transformers.runner import runner_of
    from modelwrap.local.transformers.threads import Threads

    return runner_of(
        info,
        batch_size=settings["batch_size"],
        context=settings["context"],
        lends_tensors=lends_tensors,
        threads=Threads(device, settings["n_threads"]),
    )


def _embedding_runner(loaded: Loaded, settings: Mapping[str, Any], device: str) -> Runner:
    from modelwrap.local.transformers.embedding import EmbeddingRunner
    from modelwrap.local.transformers.threads import Threads

    wanted = (settings[name] for name in ("context", "pooling", "normalize"))
    reading = Reading.of(settings["checkpoint"]["folder"], *wanted)
    return EmbeddingRunner(loaded, reading, settings["batch_size"], Threads(device, settings["n_threads"]))
