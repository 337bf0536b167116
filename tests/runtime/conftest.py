from __future__ import annotations

import pytest

from tests.colours import WAYS, Colour


@pytest.fixture(params=WAYS, ids=lambda way: way.client)
def colour(request: pytest.FixtureRequest) -> Colour:
    """Run a test once for each HTTP client and colour that the runtime has."""
    return request.param
