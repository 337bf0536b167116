"""What configs of models at a provider share: where the model is, and what it accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from modelwrap import capabilities
from modelwrap.capabilities import Traits, traits_for
from modelwrap.config import ModelConfig, check_transport, mistakes
from modelwrap.errors import ConfigError
from modelwrap.jsonc import Path
from modelwrap.secrets import Secret
from modelwrap.wire.http import Endpoint
from modelwrap.wire.urls import host_of, normalised_base


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
    own_domain: ClassVar[str]
    """The domain of the provider's hosts, to which its key from the environment may go."""

    capabilities: Annotated[dict[str, Any], BeforeValidator(_facts)] = Field(
        default={},
        description="What the model accepts, over what the table says ([capabilities](capabilities.md)); "
        '`{"like": "…"}` takes the row of another model.',
    )

    def base_url(self) -> str:
        try:
            return self.normalised(self.client_args.base_url or self.usual_url())
        except ValueError as error:
            raise ConfigError(f"{self.place_of_url}: {error}") from None

    @property
    def place_of_url(self) -> str:
        """Where the base URL stands, for errors."""
        return "client_args.base_url"

    def usual_url(self) -> str:
        """Say where requests go unless the config says so itself."""
        return self.own_url

    def normalised(self, url: str) -> str:
        """Read a base URL in any form that people paste; wires that append other paths read it in their own way."""
        return normalised_base(url)

    def is_at_home(self) -> bool:
        """Tell whether requests go to the provider itself."""
        host = host_of(self.base_url())
        return host == self.own_domain or host.endswith(f".{self.own_domain}")

    def endpoint(self, headers: Mapping[str, str | Secret]) -> Endpoint:
        """Say where requests go, with these headers; a key goes over plain http only where that is safe or allowed."""
        base_url = self.base_url()
        has_key = any(isinstance(value, Secret) and value for value in headers.values())
        check_transport(base_url, has_key=has_key, allow_http=self.allow_http, where=self.place_of_url)
        return Endpoint(
            base_url=base_url,
            headers=headers,
            query=self.client_args.default_query,
            connection=self.client_args.connection(base_url),
        )

    def traits(self, base_url: str | None = None) -> Traits:
        """Say how the model wants to be spoken to at its address, which may be elsewhere than the config says."""
        at = base_url or self.base_url()
        return traits_for(self.model, at, provider=self.provider, overrides=self.capabilities)

    def remarks(self) -> Iterator[tuple[Path, str]]:
        yield from super().remarks()
        try:
            retirement = self.traits().facts.retirement(today())
        except ConfigError:
            return  # raised again, with its place, when the model is made
        if retirement:
            yield ("model",), retirement
