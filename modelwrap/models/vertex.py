"""Where Vertex is: its hosts by location, and the path of a project's models."""

from __future__ import annotations

import re

HOME = "https://aiplatform.googleapis.com"

# https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
_SEVERAL_REGIONS = ("us", "eu")


def base_url(location: str, project: str) -> str:
    """Give the URL of Google's models in a location; without a project, that of callers who have a key.

    >>> base_url("europe-west4", "mine")
    'https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/mine/locations/europe-west4/publishers/google'
    """
    if location == "global" or not project:
        host = HOME
    elif location in _SEVERAL_REGIONS:
        host = f"https://aiplatform.{location}.rep.googleapis.com"
    else:
        host = f"https://{location}-aiplatform.googleapis.com"
    return completed(f"{host}/v1beta1", location, project)


def completed(base: str, location: str, project: str) -> str:
    """Add to a base URL the path of the models, where it ends with a version or with nothing.

    >>> completed("http://localhost:8000/v1beta", "global", "mine")
    'http://localhost:8000/v1beta1/projects/mine/locations/global/publishers/google'
    """
    found = re.fullmatch(r"(.*?)/(v\d\w*)", base)
    if found is None:
        return base
    version = "v1beta1" if found[2] == "v1beta" else found[2]
    place = f"projects/{project}/locations/{location}/" if project else ""
    return f"{found[1]}/{version}/{place}publishers/google"
