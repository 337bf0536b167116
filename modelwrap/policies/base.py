"""What every policy is: a Model around a Model."""

from __future__ import annotations

from typing import Any

from modelwrap.models.base import Model
from modelwrap.models.call import Call, Explanation


class Wrapper(Model):
    """Be the model that is wrapped in everything that a subclass does not say otherwise."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = model.name
        self.timeouts = model.timeouts
        self.max_retries = model.max_retries
        self.generate_args = model.generate_args
        self.streams_by_default = model.streams_by_default
        self.worth_streaming = model.worth_streaming
        self.length_parameter = model.length_parameter

    def describe(self, call: Call) -> Explanation:
        return self.model.describe(call)

    def load(self) -> None:
        self.model.load()

    def close(self) -> None:
        self.model.close()

    async def aclose(self) -> None:
        await self.model.aclose()

    def __getattr__(self, name: str) -> Any:
        # What only some models have, as a model in this process has `fetch()`.
        if name.startswith("_") or name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    def __repr__(self) -> str:
        return repr(self.model)
