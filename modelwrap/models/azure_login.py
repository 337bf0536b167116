"""Entra's tokens for Azure, by Microsoft's own package: whoever `az login` or the machine itself says is calling."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, TypeAlias

from modelwrap.errors import CredentialError, MissingPackage, clip
from modelwrap.runtime.auth import Credential, Token
from modelwrap.secrets import HIDDEN, Scrubber, Secret

Login: TypeAlias = Literal[
    "default", "cli", "developer_cli", "environment", "managed_identity", "powershell", "workload_identity"
]

_CLASSES: dict[Login, str] = {
    "default": "DefaultAzureCredential",
    "cli": "AzureCliCredential",
    "developer_cli": "AzureDeveloperCliCredential",
    "environment": "EnvironmentCredential",
    "managed_identity": "ManagedIdentityCredential",
    "powershell": "AzurePowerShellCredential",
    "workload_identity": "WorkloadIdentityCredential",
}

# What the logins over HTTP are bounded by; those that start a program are bounded by 10 seconds of their own.
_OVER_HTTP: dict[str, Any] = {
    "connection_timeout": 5,
    "read_timeout": 10,
    "retry_total": 2,
    "retry_backoff_factor": 0.2,
}
_PROGRAMS: tuple[Login, ...] = ("cli", "developer_cli", "powershell")

# How long a token is taken for good that was fetched just now and, by a clock that must be wrong, has run out already.
_AT_LEAST = 60.0

_SECRET_VARIABLES = (
    "AZURE_CLIENT_SECRET",
    "AZURE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
)
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+(\.[\w-]*)?")
_MOST_WORDS = 500


def entra_credential(login: Login, scope: str) -> Credential:
    """Give the credential that fetches tokens for a scope; `MissingPackage` where Microsoft's is not installed."""
    try:
        identity = import_module("azure.identity")
        failed = import_module("azure.core.exceptions").AzureError
    except ImportError as error:
        raise MissingPackage(
            f"azure_openai: a login of Entra needs a package: pip install 'modelwrap[azure]' ({error}); "
            "with an api_key none is needed"
        ) from None
    return Credential(_fetching(getattr(identity, _CLASSES[login]), login, scope, failed))


def _fetching(make: Any, login: Login, scope: str, failed: type[Exception]) -> Callable[[], Token]:
    given: list[Secret] = []

    def fetch() -> Token:
        # Made anew each time: it would answer with the token that it has, which the server may just have refused.
        try:
            with make(**_options(login)) as credential:
                found = credential.get_token(scope)
        except failed as error:
            raise CredentialError(_words(error, login, given), sent=False) from None
        given[:] = [Secret(found.token)]
        return Token(given[0], max(found.expires_on - time.time(), _AT_LEAST))

    return fetch


def _options(login: Login) -> dict[str, Any]:
    if login in _PROGRAMS:
        return {}
    client = os.environ.get("AZURE_CLIENT_ID") if login == "managed_identity" else None
    return {**_OVER_HTTP, **({"client_id": client} if client else {})}


def _words(error: Exception, login: Login, given: list[Secret]) -> str:
    """Say why a login failed, without what it is done with."""
    secrets = [Secret(value) for name in _SECRET_VARIABLES if (value := os.environ.get(name))]
    words = " ".join(str(getattr(error, "message", None) or error).split())
    words = _TOKEN.sub(HIDDEN, Scrubber((*secrets, *given))(words))
    return clip(f"Entra gave no token for the login {login!r}: {type(error).__name__}: {words[:_MOST_WORDS]}") or ""
