"""The model type `transformers`: calls made into jobs, and what came of these made into replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

from modelwrap import runtime as runtimes
from modelwrap.capabilities import Traits
from modelwrap.errors import BadRequest, ConfigError, StreamTruncated
from modelwrap.local.transformers import entries, hubs
from modelwrap.local.transformers.building import ChatBuilder
from modelwrap.local.transformers.config import TransformersConfig
from modelwrap.local.transformers.parameters import KNOWN
from modelwrap.local.transformers.replicated import ReplicatedModel
from modelwrap.local.work import Job, Piece
from modelwrap.models.attempts import Attempted, opened
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.runtime.base import Runtime, run_sync
from modelwrap.types import Change, ChatChunk
from modelwrap.wire.assembly import MOST_CHOICES
from modelwrap.wire.chat_chunks import ChunkReader

_ONE_OBJECT = "a model object is in one place; give the name of its weights, or a class, for replicas"

_IDENTITY = ("id", "object", "created", "model")


class Transformers(ReplicatedModel):
    """Run a model of the transformers library: loaded at the first call, or by `load()`, and freed by `close()`."""

    Config = TransformersConfig
    length_parameter = "max_tokens"
    settings: TransformersConfig

    def __init__(self, config: TransformersConfig, given: entries.Given | None = None) -> None:
        super().__init__(config, ChatBuilder(config, given), here=config.batching == "off")
        self._is_one_object = given is not None and given.is_one_object
        self.generate_args = {**hubs.defaults_of(config.model).get("generate_args", {}), **config.generate_args}

    @classmethod
    def from_config(cls, config: TransformersConfig, given: entries.Given | None = None) -> Self:
        cls.check_client_args(config)
        if config.entry is None and not (given and given.brings_model):
            hubs.check(config)
        if given is not None and config.worker == "process":
            raise ConfigError("worker: objects in hand are in this process, and in none of its own")
        if given is not None and given.is_one_object:
            cls._check_loaded(config)
        return cls(config, given)

    @classmethod
    def _check_loaded(cls, config: TransformersConfig) -> None:
        """Refuse what would say how a model is loaded that is loaded already."""
        if len(config.devices) > 1:
            raise ConfigError(f"devices: {_ONE_OBJECT}")
        said = [f"client_args.{name}" for name in sorted(config.client_args.model_fields_set & cls.loading_args)]
        said += [name for name in ("devices", "hub") if name in config.model_fields_set]
        for name in said:
            raise ConfigError(f"{name}: says how weights are loaded, and a model object is loaded already")

    @property
    def is_here(self) -> bool:
        return self._brings_all or super().is_here

    def fetch(self) -> list[Path]:
        return [] if self._brings_all else super().fetch()

    @property
    def _brings_all(self) -> bool:
        """Whether there is nothing to fetch. What an entry needs it brings along, as far as anybody knows."""
        named = "model" in self.settings.model_fields_set
        return self._is_one_object or (self.settings.entry is not None and not named)

    def add_replica(self, device: str = "auto") -> None:
        if self._is_one_object:
            raise ConfigError(f"{self.name}: {_ONE_OBJECT}")
        super().add_replica(device)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        await self.ready(call, runtime)
        bodies = await self._bodies(call, runtime)
        return await opened(self._chunks([self.job(body) for body in bodies], call, runtime))

    def describe(self, call: Call) -> Explanation:
        """Show what is computed for `call`; of several answers the first."""
        body, *_ = run_sync(self._bodies(call, runtimes.of_thread()))
        return Explanation("transformers", self.endpoint, {}, body, tuple(call.changes))

    async def _bodies(self, call: Call, runtime: Runtime) -> list[dict[str, Any]]:
        """Write a call down as what is computed for it: one body for each answer."""
        messages = await self.to_messages(call, runtime)
        call.parameters = {**call.parameters, **call.extra_body}
        parameters = self.to_parameters(call, KNOWN | {"n"})
        answers = parameters.pop("n", 1)
        if type(answers) is not int or not 1 <= answers <= MOST_CHOICES:
            raise BadRequest(f"n: must be a whole number from 1 to {MOST_CHOICES}, not {answers!r}", sent=False)
        body = {"messages": messages, **parameters, "stream": call.stream}
        return [{**body, **_seed_of(parameters, place)} for place in range(answers)]

    async def _chunks(self, jobs: Sequence[Job], call: Call, runtime: Runtime) -> AsyncGenerator[ChatChunk, None]:
        reader = ChunkReader(Traits(), call.changes)
        answers = _Answers(jobs)
        with Attempted(call, self.name, call.endpoint, runtime):
            async with aclosing(self.pieces(jobs, call, runtime)) as pieces:
                async for piece in pieces:
                    data = answers.read(piece)
                    yield reader.read(data, data)
            if (rest := reader.rest()) is not None:
                yield rest
            if (usage := answers.usage()) is not None:
                yield reader.read(usage, usage)
            if not answers.counted and _wants_usage(call):
                call.changes.append(Change("defaulted", "usage", "nobody counted its tokens, so its zeros say nothing"))
            if not reader.complete:
                raise StreamTruncated("the model stopped before its answer ended")
        call.ended = True


class _Answers:
    """Make one reply of the answers of several jobs: they are numbered, and their tokens counted together."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._places = {job.number: place for place, job in enumerate(jobs)}
        self._identity: dict[str, Any] = {}
        self._usages: dict[int, dict[str, Any]] = {}

    def read(self, piece: Piece) -> dict[str, Any]:
        data = dict(piece.data)
        place = self._places[piece.number]
        if (usage := data.pop("usage", None)) is not None:
            self._usages[place] = usage
        if len(self._places) == 1:
            return piece.data
        if not self._identity:
            self._identity = {name: data[name] for name in _IDENTITY if name in data}
        return {**data, **self._identity, "choices": [{**one, "index": place} for one in data.get("choices", ())]}

    @property
    def counted(self) -> bool:
        """Whether it is known what each took."""
        return len(self._usages) == len(self._places)

    def usage(self) -> dict[str, Any] | None:
        """Count what several took together; the prompt counts once, as it does at OpenAI."""
        if len(self._places) == 1 or not self.counted:
            return None
        prompt = max(usage["prompt_tokens"] for usage in self._usages.values())
        made = sum(usage["completion_tokens"] for usage in self._usages.values())
        usage = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
        return {**self._identity, "choices": [], "usage": usage}


def _wants_usage(call: Call) -> bool:
    options = call.parameters.get("stream_options")
    return not isinstance(options, Mapping) or options.get("include_usage") is not False


def _seed_of(parameters: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Give each of several answers a seed of its own: with the same they would be the same."""
    seed = parameters.get("seed")
    return {"seed": seed + place} if type(seed) is int and place else {}
