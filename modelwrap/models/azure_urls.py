"""Where Azure's models are: under a path of each deployment, or under one of all (`v1`, Foundry's older `models`)."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl, quote, unquote

from modelwrap.wire.http import Endpoint
from modelwrap.wire.urls import host_of, normalised_azure_base

_VERSION = "api-version"

HOME = "https://resource.openai.azure.com"
"""Stands for every resource where only the platform matters."""

_CLOUDS = ("azure.com", "azure.us", "azure.cn")
_SERVICES = ("openai", "cognitiveservices", "services.ai")
# Where resources are that have no name of their own.
_REGIONS = (".api.cognitive.microsoft.com", ".api.cognitive.microsoft.us")

# https://learn.microsoft.com/en-us/azure/foundry/openai/api-version-lifecycle
_VERSIONS_OF_V1 = ("v1", "preview", "latest")

# The only one that the path of Foundry's models has had.
_VERSION_OF_MODELS = "2024-05-01-preview"


def base_url(given: str, version: str | None, deployment: str) -> str:
    """Give the URL that operations are appended to, from any form of an endpoint that people paste.

    Without a version, or with one of the path of all, it ends with `/openai/v1`, else with the deployment.

    >>> base_url("https://mine.openai.azure.com", None, "gpt")
    'https://mine.openai.azure.com/openai/v1'
    >>> base_url("mine.openai.azure.com/", "2025-01-01-preview", "gpt")
    'https://mine.openai.azure.com/openai/deployments/gpt'
    """
    base = _base_of(given)
    if serves_all(base) or "/deployments/" in base:
        return base
    root = base if base.endswith("/openai") else f"{base}/openai"
    if version is None or version in _VERSIONS_OF_V1:
        return f"{root}/v1"
    return f"{root}/deployments/{quote(deployment, safe='')}"


def serves_all(base: str) -> bool:
    """Tell whether a URL is that of every deployment, so that the body has to name the one that is meant."""
    return _is_v1(base) or _is_models(base)


def for_responses(endpoint: Endpoint) -> Endpoint:
    """Give the endpoint of Responses, which name the deployment in the body and are none of Foundry's `models`."""
    base = endpoint.base_url
    if _is_models(base):
        query = {name: value for name, value in endpoint.query.items() if name != _VERSION}
        return replace(endpoint, base_url=f"{base.removesuffix('/models')}/openai/v1", query=query)
    return replace(endpoint, base_url=split_deployment(base)[0])


def split_deployment(base: str) -> tuple[str, str]:
    """Give the URL of those operations that name the deployment in the body, and that name; empty where none is in it.

    >>> split_deployment("https://mine.openai.azure.com/openai/deployments/gpt?api-version=1")
    ('https://mine.openai.azure.com/openai?api-version=1', 'gpt')
    """
    path, mark, query = base.partition("?")
    stem, _, deployment = path.partition("/deployments/")
    return (f"{stem}{mark}{query}", unquote(deployment)) if deployment and "/" not in deployment else (base, "")


def version_in(given: str) -> str | None:
    """Read the API's version out of a URL that somebody pasted whole."""
    return dict(parse_qsl(given.partition("?")[2])).get(_VERSION)


def usual_version(given: str, in_environment: str | None) -> str | None:
    """Say which version is meant where nothing states one; the environment's is that of deployments."""
    base = _base_of(given)
    if _is_models(base):
        return _VERSION_OF_MODELS
    return None if _is_v1(base) else in_environment


def _base_of(given: str) -> str:
    """Give a URL without its version, and without the lists that are asked for beside the operations."""
    return re.sub(r"(?<=/openai)/(?:deployments|models)$", "", normalised_azure_base(given).partition("?")[0])


def _is_v1(base: str) -> bool:
    return re.search(r"/v\d+$", base) is not None


def _is_models(base: str) -> bool:
    return base.endswith("/models")


def is_azure(host: str) -> bool:
    """Tell whether a host is Azure's, to which a key from the environment may go."""
    return _cloud(host) is not None or host.endswith(_REGIONS)


def scope(url: str) -> str:
    """Give what a token is asked for: Foundry's projects have their own, and so have the sovereign clouds."""
    service = "ai" if "/api/projects/" in url else "cognitiveservices"
    return f"https://{service}.{_cloud(host_of(url)) or _CLOUDS[0]}/.default"


def _cloud(host: str) -> str | None:
    found = (cloud for cloud in _CLOUDS for service in _SERVICES if host.endswith(f".{service}.{cloud}"))
    return next(found, None)
