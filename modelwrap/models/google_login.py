"""Google's default credentials, for calls of Vertex: whoever `gcloud` or the machine itself says is calling."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from modelwrap.errors import CredentialError, MissingPackage
from modelwrap.runtime.auth import Credential, Token
from modelwrap.secrets import Secret

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

# What is taken for the life of a token that does not tell it, in seconds.
_UNTOLD = 300.0


def default_credential() -> Credential:
    """Give the credential that fetches tokens by Google's own package; `MissingPackage` where it is not installed."""
    try:
        auth = import_module("google.auth")
        transport = import_module("google.auth.transport.requests")
    except ImportError as error:
        raise MissingPackage(
            f"client_args.vertexai: Google's login needs a package: pip install 'modelwrap[vertex]' ({error})"
        ) from None
    return Credential(_fetching(auth, transport))


def _fetching(auth: Any, transport: Any) -> Callable[[], Token]:
    found: list[Any] = []

    def fetch() -> Token:
        if not found:
            found.append(_credentials(auth))
        credentials = found[0]
        credentials.refresh(transport.Request())
        return Token(Secret(credentials.token), _lifetime(credentials.expiry))

    return fetch


def _credentials(auth: Any) -> Any:
    try:
        credentials, _ = auth.default(scopes=_SCOPES)
    except auth.exceptions.DefaultCredentialsError:
        raise CredentialError(
            "there are no default credentials of Google here: run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to a file of them",
            sent=False,
        ) from None
    return credentials


def _lifetime(expiry: datetime | None) -> float:
    """Count the seconds to a moment that Google's package gives in UTC without saying so."""
    if expiry is None:
        return _UNTOLD
    moment = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
