"""Fakes under the names by which code asks for models."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

from modelwrap import factory
from modelwrap.models.base import Model
from modelwrap.testing.fake import FakeModel
from modelwrap.testing.session import Session


class use_fake(Session[Any]):  # noqa: N801 - read as a verb: with use_fake("gpt", "Hello")
    """Let `get_model(name)` give a fake while the block lasts, whether or not a config was loaded.

    What is not a model already is the script of a `FakeModel`.

    >>> import modelwrap
    >>> with use_fake("gpt", ["Hello"]) as model:
    ...     modelwrap.get_model("gpt")("Hi").text
    'Hello'
    """

    def __init__(self, name: str, model: Any) -> None:
        super().__init__()
        self.name = name
        self.model = model

    def anew(self) -> Self:
        return type(self)(self.name, self.model)

    def enter(self, stack: ExitStack) -> Any:
        model = self.model if isinstance(self.model, Model) else FakeModel(self.model, name=self.name)
        return stack.enter_context(factory.stand_in(self.name, model))
