"""Between a codec and a runtime: a vendor's client, which logs in for requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

from modelwrap.config import check_transport
from modelwrap.config.credentials import secrets_in
from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.models import sdk_clients
from modelwrap.models.sdk_clients import SdkClient
from modelwrap.runtime.base import Deadline, HttpResponse, Runtime
from modelwrap.runtime.vendor_client import Clients, Errand, carry
from modelwrap.secrets import Scrubber, Secret, reveal
from modelwrap.suggestions import nearest
from modelwrap.wire import aws_events
from modelwrap.wire.http import USER_AGENT, Endpoint, HttpRequest

if TYPE_CHECKING:
    from modelwrap.models.sdk import SdkConfig

# What every request of ours has; the client writes its own in their place, unless a call says otherwise.
_OURS = (
    ("accept", "application/json"),
    ("accept", "text/event-stream"),
    ("content-type", "application/json"),
    ("user-agent", USER_AGENT),
)

# What the operations of a wire stand behind, where a client's base URL does not say it.
_VERSION = {"openai": "", "claude": "/v1"}

# Arguments of clients that a config names beside `client_args`.
_AT_THE_TOP = frozenset({"api_key", "auth_token", "organization"})


class Carrier:
    """Have a vendor's client log in for requests, and send them by the runtime of the call."""

    def __init__(self, name: str, client: SdkClient, clients: Clients, secrets: tuple[Secret, ...]) -> None:
        self.takes_media_urls = client.takes_media_urls
        self._name = name
        self._extra = client.extra
        self._version = _VERSION[client.wire]
        self._clients = clients
        self._secrets = secrets
        self.base_url = str(clients.of_thread().base_url).rstrip("/")

    @classmethod
    def from_config(cls, config: SdkConfig) -> Self:
        """Make the client that a config names; `ConfigError` says what it does not take, and what it lacks."""
        name = config.sdk_client or config.plain_client
        client = sdk_clients.find(name, config.wire)
        secrets = tuple(secret for _, secret in secrets_in(config))
        given = _arguments(config, name)
        makers = [sdk_clients.imported(target, name, client.extra) for target in (client.blocking, client.concurrent)]
        for make in makers:
            _check_arguments(name, given, sdk_clients.arguments_of(make))
        blocking, concurrent = makers
        arguments = _revealed(given)
        clients = Clients(
            lambda http_client: blocking(http_client=http_client, **arguments),
            lambda http_client: concurrent(http_client=http_client, **arguments),
        )
        try:
            carrier = cls(name, client, clients, secrets)
        except ConfigError:
            raise
        except Exception as error:  # whatever a vendor's client raises says why it cannot be made
            words = Scrubber(secrets)(f"{type(error).__name__}: {error}")
            raise ConfigError(f"sdk_client: {name} cannot be made: {words}") from None
        check_transport(carrier.base_url, has_key=True, allow_http=config.allow_http, where="client_args.base_url")
        return carrier

    def endpoint(self, config: SdkConfig) -> Endpoint:
        """Give the endpoint for which a codec writes what the client carries."""
        return Endpoint(self.base_url, connection=config.client_args.connection(self.base_url))

    async def send(
        self, request: HttpRequest, deadline: Deadline, runtime: Runtime, secrets: list[Secret]
    ) -> HttpResponse:
        """Send a request as the client writes and signs it; `secrets` takes what must be hidden in errors."""
        errand = await self._carried(request, deadline, runtime, secrets)
        assert errand.response is not None
        if errand.response.headers.get("content-type", "").startswith(aws_events.CONTENT_TYPE):
            return _ServerSent(errand.response)
        return errand.response

    async def shown(self, request: HttpRequest, deadline: Deadline, runtime: Runtime) -> HttpRequest:
        """Give a request as the client would send it; the client logs in for it, and nothing else goes out."""
        errand = await self._carried(request, deadline, runtime, [], only_show=True)
        assert errand.prepared is not None
        return errand.prepared

    async def _carried(
        self,
        request: HttpRequest,
        deadline: Deadline,
        runtime: Runtime,
        secrets: list[Secret],
        *,
        only_show: bool = False,
    ) -> Errand:
        secrets += self._secrets
        errand = Errand(request, deadline, runtime, only_show, secrets=secrets)
        url = urlsplit(request.url)
        path = self._version + request.url.partition("?")[0].removeprefix(self.base_url)
        headers = {name: reveal(text) for name, text in request.headers.items() if (name, text) not in _OURS}
        try:
            await carry(errand, self._clients, path, dict(parse_qsl(url.query, keep_blank_values=True)), headers)
        except MissingPackage as error:
            hint = f': pip install "modelwrap[{self._extra}]"' if self._extra else ""
            raise MissingPackage(f"sdk_client {self._name}: {error}{hint}") from None
        return errand


class _ServerSent:
    """Give Amazon's event stream as the server-sent events that it carries."""

    def __init__(self, inner: HttpResponse) -> None:
        self._inner = inner
        self.status = inner.status
        self.headers = inner.headers
        self.read_limit = inner.read_limit

    async def read(self) -> bytes:
        return aws_events.Decoder().feed(await self._inner.read())

    async def stream(self) -> AsyncGenerator[bytes, None]:
        decoder = aws_events.Decoder()
        async with aclosing(self._inner.stream()) as pieces:
            async for piece in pieces:
                # Bytes that make no event yet are handed on as well: the limits of the reader count them.
                yield decoder.feed(piece)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _arguments(config: SdkConfig, name: str) -> dict[str, Any]:
    """Lay out what a config says for a client, by the names of the client's arguments."""
    own = config.client_args
    found = {
        **(own.model_extra or {}),
        "auth_token": getattr(config, "auth_token", None) or None,
        "base_url": own.base_url,
        "organization": config.organization,
        "project": own.project,
        "default_headers": own.default_headers or None,
        "default_query": own.default_query or None,
        "api_key": config.api_key or None,
    }
    if name == config.plain_client:
        found["base_url"] = config.base_url().removesuffix(_VERSION[config.wire])
        if not (found["api_key"] or found["auth_token"]) and (config.api_key is not None or not config.is_at_home()):
            # Left to itself the client would look for a key, and send it to whoever is there.
            found["api_key"] = config.key() or Secret("EMPTY")
    return {name: value for name, value in found.items() if value is not None}


def _check_arguments(name: str, given: Mapping[str, Any], known: list[str] | None) -> None:
    for argument in given:
        if known is not None and argument not in known:
            where = argument if argument in _AT_THE_TOP else f"client_args.{argument}"
            meant = nearest(argument, known)
            question = f'did you mean "{meant}"? ' if meant else ""
            raise ConfigError(f"{where}: {name} takes no {argument}; {question}it takes {', '.join(known)}")


def _revealed(given: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: reveal(value) if isinstance(value, Secret) else value for name, value in given.items()}
    if headers := given.get("default_headers"):
        arguments["default_headers"] = {name: reveal(text) for name, text in headers.items()}
    return arguments
