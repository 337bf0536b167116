"""What the model types of the transformers library share: replicas that are loaded, asked, added and freed."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any

from modelwrap.errors import ConfigError
from modelwrap.local.base import LocalModel, Taken, taken
from modelwrap.local.here import Here
from modelwrap.local.replicas import PATIENCE, Replicas
from modelwrap.local.together import Together
from modelwrap.local.transformers import hubs
from modelwrap.local.transformers.building import Builder
from modelwrap.local.transformers.config import LoadingArgs, WeightsConfig, is_device
from modelwrap.local.turns import waiting_for
from modelwrap.local.work import Event, Failed, Job, Piece
from modelwrap.models.call import Call
from modelwrap.runtime.base import Runtime

_numbers = count(1)


class ReplicatedModel(LocalModel):
    """Be a model of the transformers library, on one device or on several."""

    loading_args = frozenset(LoadingArgs.__annotations__)

    def __init__(self, config: WeightsConfig, builder: Builder, *, here: bool = False) -> None:
        super().__init__(config)
        self.settings = config
        self._builder = builder
        self._engine: Replicas | Here
        devices = config.devices or [config.client_args.device or "auto"]
        if here:
            # It must not hold the model itself, which may be forgotten while it computes.
            device = devices[0]
            engine = self._engine = Here(lambda: builder.runner(device), config.config_name)
            self._loading = Together(lambda _: engine.load(), self.name, patience=PATIENCE)
        else:
            self._engine = Replicas(builder.worker, devices, config.config_name)
        self._files = Together(builder.prepare, self.name)
        self._ready_in = 0

    @property
    def is_here(self) -> bool:
        return hubs.find(self.settings) is not None

    def check_packages(self) -> None:
        self._builder.check()

    def fetch(self) -> list[Path]:
        return [hubs.fetched(self.settings)]

    def load(self) -> None:
        """Fetch the weights if they are not here, and load them on every device."""
        with self.naming():
            self._prepare()
            self._engine.load()
        self._ready_in = os.getpid()

    def close(self) -> None:
        self._ready_in = 0
        self._files.close()
        self._engine.close()
        self._builder.forget()

    @property
    def live(self) -> Any:
        """The model object itself, which is loaded if it is not; `ConfigError` where it computes elsewhere."""
        if self.settings.worker == "process":
            raise ConfigError(f'{self.name} computes in a process of its own; "worker": "thread" keeps it in this one')
        if self._builder.live() is None:
            self.load()
        return self._builder.live()

    @property
    def devices(self) -> list[str]:
        """Where it computes, one for each replica."""
        return self._replicas.devices

    def add_replica(self, device: str = "auto") -> None:
        """Load the model once more, on another device, and wait until it is ready; others compute meanwhile."""
        if not is_device(device):
            raise ConfigError(f"{self.name}: {device!r} is the name of no device; write cpu, cuda:0 or mps")
        with self.naming():
            self._prepare()
            self._replicas.add(device)

    def remove_replica(self, device: str | None = None) -> None:
        """Free the replica that was added last, there or anywhere, when what it computes is done."""
        self._replicas.remove(device)

    @property
    def _replicas(self) -> Replicas:
        if isinstance(self._engine, Here):
            raise ConfigError(f'{self.name} computes in the threads of its callers, where "batching" is "off"')
        return self._engine

    def job(self, body: dict[str, Any]) -> Job:
        return Job(next(_numbers), body)

    def _prepare(self) -> None:
        self._builder.check()
        self._builder.prepare()

    async def ready(self, call: Call, runtime: Runtime) -> None:
        """Wait until the model is loaded, no longer than the call may take; who leaves does not end that for others."""
        if self._ready_in == os.getpid():
            return
        with self.naming(), self.loading_for(call):
            self._builder.check()
            if not self._builder.is_prepared:
                await self._files.wait(runtime, call.deadline)
            await self._loaded(call, runtime)
        self._ready_in = os.getpid()

    async def _loaded(self, call: Call, runtime: Runtime) -> None:
        if isinstance(self._engine, Replicas):
            with self._engine.loading() as loading:
                for ready in loading:
                    await runtime.wait(ready, call.deadline)
        elif runtime.blocking:
            # Where its caller can look at it.
            self._engine.load()
        else:
            with waiting_for(self._engine):
                await self._loading.wait(runtime, call.deadline)

    async def pieces(self, jobs: Sequence[Job], call: Call, runtime: Runtime) -> AsyncGenerator[Piece, None]:
        """Have jobs computed, and give what comes of them until all are done."""
        async with aclosing(taken(self._submitted(jobs, call), call, runtime)) as events:
            async for event in events:
                if isinstance(event, Failed):
                    with self.naming():
                        raise event.error.with_traceback(None)
                if isinstance(event, Piece) and event.data:
                    yield event

    def _submitted(self, jobs: Sequence[Job], call: Call) -> Taken[Event]:
        if isinstance(self._engine, Here):
            return self._engine.submit(jobs, call.deadline, at_once=call.stream)
        return self._engine.submit(jobs, at_once=call.stream)
