"""The values between a codec and the network: where to send, what to send, how long to wait."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from modelwrap import __version__
from modelwrap.errors import UnsupportedParameter
from modelwrap.secrets import HIDDEN, Secret, credentials_in, is_sensitive, reveal
from modelwrap.types import JSON, Change
from modelwrap.wire.urls import shown

USER_AGENT = f"modelwrap/{__version__}"

_JSON = "application/json"

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

# They say where a request ends; a second opinion would leave the connection out of step.
_FRAMING = ("content-length", "transfer-encoding")

_OWN_HEADERS: dict[str, str | Secret] = {"user-agent": USER_AGENT, "accept-encoding": "gzip, deflate"}


def wrong_header(name: str) -> str:
    """Say why no header of this name may be given; empty where one may."""
    if not _HEADER_NAME.fullmatch(name):
        return "this is no name of a header"
    return "this header is written by the HTTP client" if name.lower() in _FRAMING else ""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limit a call in seconds; `total` spans all attempts and the waits between them."""

    connect: float = 10.0
    first_token: float = 300.0
    """From sending a streamed call to its first event."""
    idle: float = 120.0
    """Between two pieces of an answer."""
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Connection:
    """Say how sockets to an endpoint are made; equal ones share a pool."""

    proxy: Secret | None = None
    """None takes the environment's; an empty one takes none."""
    verify: bool | str = True
    """False trusts anyone; a string is the path of a file of certificates."""
    public_only: bool = False
    """Whether only addresses on the open internet may be reached; for URLs that strangers wrote."""
    http: Literal["auto", "httpx2", "aiohttp"] = "auto"
    """The client inside an event loop; `auto` takes aiohttp where it is installed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Say where requests go and what goes with each of them."""

    base_url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    connection: Connection = Connection()


@dataclass(slots=True)
class HttpRequest:
    """Be one request; secrets in the headers are revealed only where it meets the socket."""

    method: str
    url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    json: JSON = None
    content: bytes = b""
    connection: Connection = Connection()
    timeouts: Timeouts = Timeouts()
    stream: bool = False
    in_body: tuple[Secret, ...] = ()
    """The credentials that stand in the content."""
    largest_body: int | None = None
    """How many bytes of an answer are read; None leaves the limit that all have."""
    replayable: bool = True
    """Whether it may be sent again when an idle connection turns out to be closed and nothing was answered."""

    def __repr__(self) -> str:
        # Those who look at a call that was cancelled see its frames, and keys may stand in a URL and in a body.
        return f"<{type(self).__name__} {self.method} {shown(self.url)}>"

    @property
    def holds_json(self) -> bool:
        """Whether the content is JSON; `json` shows what else it may be."""
        return bool(self.content) and reveal(self.headers.get("content-type", "application/json")).startswith(_JSON)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every credential that goes out with the request."""
        url = urlsplit(self.url)
        named = [*self.headers.items(), *parse_qsl(url.query)]
        found = [value for _, value in named if isinstance(value, Secret)]
        found += [Secret(value) for name, value in named if isinstance(value, str) and is_sensitive(name)]
        found += [Secret(password) for password in [url.password] if password]
        found += [*self.in_body, *credentials_in(self.json)]
        if self.connection.proxy:
            found += [self.connection.proxy, _login_at(self.connection.proxy)]
        return tuple(found)

    def prepared(self, timeouts: Timeouts) -> HttpRequest:
        """Add to this request what every one has, whatever its codec, and give it back."""
        self.headers = _OWN_HEADERS | {name.lower(): value for name, value in self.headers.items()}
        self.timeouts = timeouts
        return self

    def shown_headers(self) -> dict[str, str]:
        """Give the headers with every credential hidden."""
        return {
            name: HIDDEN if isinstance(value, Secret) or is_sensitive(name) else value
            for name, value in self.headers.items()
        }


def _login_at(proxy: Secret) -> Secret:
    """Give the login that stands in a proxy's URL as it goes out to the proxy."""
    login, _, _ = proxy.reveal().partition("://")[2].partition("/")[0].rpartition("@")
    return Secret("Basic " + base64.b64encode(unquote_to_bytes(login)).decode())


@dataclass(slots=True)
class WireCall:
    """Ask something of a codec: plain data, media already made into text.

    A codec appends to `changes` whatever it sends otherwise than it was asked.
    """

    model: str
    input: Any
    """Messages for chat; whatever the model type takes elsewhere."""
    parameters: dict[str, Any]
    stream: bool = False
    extra_headers: Mapping[str, str | Secret] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    unsupported: Literal["error", "warn", "drop"] = "error"
    resumes: JSON = None
    """The message that the provider paused, in its own shape, where this call lets it go on."""
    changes: list[Change] = field(default_factory=list)

    def cannot(self, parameter: str, reason: str) -> None:
        """Raise `UnsupportedParameter`, or where the config says so, report that the parameter is left out."""
        if self.unsupported == "error":
            raise UnsupportedParameter(f"{parameter}: {reason}", code=parameter, sent=False)
        self.changes.append(Change("dropped", parameter, reason))

    def leaves_out(self, parameter: str, reason: str, *, ignored: bool = False) -> bool:
        """Tell whether to leave out what the model refuses or ignores; by itself it goes out, and a refusal will speak.

        Of what is ignored no refusal will come, so that is reported either way.
        """
        if self.unsupported != "error":
            self.changes.append(Change("dropped", parameter, reason))
        elif ignored:
            self.changes.append(Change("ignored", parameter, reason))
        return self.unsupported != "error"
