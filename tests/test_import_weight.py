from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"aiohttp", "asyncio", "concurrent", "httpcore2", "httpx2", "importlib.metadata", "pydantic", "ssl", "tenacity"}


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


@pytest.mark.parametrize("statement", ["import modelwrap", "import modelwrap.registry", "import modelwrap.errors"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    loaded = modules_after(statement) - modules_after("pass")

    assert not {name for name in loaded if name in HEAVY or name.partition(".")[0] in HEAVY}


def test_loading_and_closing_models_needs_no_http_client_and_no_retry() -> None:
    statement = (
        "import modelwrap\n"
        "modelwrap.init({'config_name': 'x', 'model_type': 'openai', 'client_args': {'base_url': 'localhost:8000'}})\n"
        "modelwrap.clear()"
    )

    loaded = modules_after(statement)

    assert not loaded & {"httpx2", "httpcore2", "tenacity", "openai"}
