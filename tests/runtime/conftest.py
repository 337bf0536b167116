from __future__ import annotations

from importlib import import_module

import pytest

from tests.colours import WAYS, Colour

# Loaded before the first deadline runs.
import_module("modelwrap.runtime.aiohttp_backend")


@pytest.fixture(params=WAYS, ids=lambda way: way.client)
def colour(request: pytest.FixtureRequest) -> Colour:
    """Run a test once for each HTTP client and colour that the runtime has."""
    return request.param
