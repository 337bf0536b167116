"""What configs of models at a provider share: where the model is, and what it accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from modelwrap import capabilities
from modelwrap.capabilities import Traits, traits_for
from modelwrap.config import ModelConfig, mistakes
from modelwrap.errors import ConfigError
from modelwrap.jsonc import Path
from modelwrap.wire.urls import normalised_base


def today() -> date:
    return datetime.now(UTC).date()


def _facts(value: object) -> object:
    if isinstance(value, Mapping) and (found := list(capabilities.mistakes(value))):
        raise mistakes(found)
    return value


class HostedConfig(ModelConfig):
    """Hold a config of a model that a table knows; subclasses say whose it is and where it is by default."""

    provider: ClassVar[str | None] = None
    """Whose models these are, where the wire has one provider only; otherwise the host tells."""
    own_url: ClassVar[str]
    """The provider's own base URL."""

    capabilities: Annotated[dict[str, Any], BeforeValidator(_facts)] = Field(
        default={},
        description="What the model accepts, over what the table says ([capabilities](capabilities.md)); "
        '`{"like": "…"}` takes the row of another model.',
    )

    def base_url(self) -> str:
        try:
            return normalised_base(self.client_args.base_url or self.own_url)
        except ValueError as error:
            raise ConfigError(f"client_args.base_url: {error}") from None

    def traits(self) -> Traits:
        """Say how the model at its address wants to be spoken to."""
        return traits_for(self.model, self.base_url(), provider=self.provider, overrides=self.capabilities)

    def remarks(self) -> Iterator[tuple[Path, str]]:
        yield from super().remarks()
        try:
            retirement = self.traits().facts.retirement(today())
        except ConfigError:
            return  # raised again, with its place, when the model is made
        if retirement:
            yield ("model",), retirement
