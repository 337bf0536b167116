"""Where Azure's models are: under a deployment's own path, or under the one path of all (`v1`)."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote

from modelwrap.wire.urls import normalised_azure_base

HOME = "https://resource.openai.azure.com"
"""Stands for every resource where only the platform matters."""

_CLOUDS = ("azure.com", "azure.us", "azure.cn")
_SERVICES = ("openai", "cognitiveservices", "services.ai")

# https://learn.microsoft.com/en-us/azure/foundry/openai/api-version-lifecycle
_VERSIONS_OF_V1 = ("v1", "preview", "latest")


def base_url(given: str, version: str | None, deployment: str) -> str:
    """Give the URL that operations are appended to, from any form of an endpoint that people paste.

    Without a version, or with one of the path of all, it ends with `/openai/v1`, else with the deployment.

    >>> base_url("https://mine.openai.azure.com", None, "gpt")
    'https://mine.openai.azure.com/openai/v1'
    >>> base_url("mine.openai.azure.com/", "2025-01-01-preview", "gpt")
    'https://mine.openai.azure.com/openai/deployments/gpt'
    """
    base = normalised_azure_base(given).partition("?")[0]
    if is_v1(base) or "/deployments/" in base:
        return base
    root = base if base.endswith("/openai") else f"{base}/openai"
    if version is None or version in _VERSIONS_OF_V1:
        return f"{root}/v1"
    return f"{root}/deployments/{quote(deployment, safe='')}"


def is_v1(base: str) -> bool:
    return re.search(r"/v\d+$", base) is not None


def without_deployment(base: str) -> str:
    """Give the URL of those operations that name the deployment in the body, as Responses do."""
    return re.sub(r"/deployments/[^/]+$", "", base)


def version_in(given: str) -> str | None:
    """Read the API's version out of a URL that somebody pasted whole."""
    return dict(parse_qsl(given.partition("?")[2])).get("api-version")


def is_azure(host: str) -> bool:
    """Tell whether a host is Azure's, to which a key from the environment may go."""
    return _cloud(host) is not None


def scope(host: str) -> str:
    """Give what a token is asked for; the sovereign clouds have their own."""
    return f"https://cognitiveservices.{_cloud(host) or _CLOUDS[0]}/.default"


def _cloud(host: str) -> str | None:
    found = (cloud for cloud in _CLOUDS for service in _SERVICES if host.endswith(f".{service}.{cloud}"))
    return next(found, None)
