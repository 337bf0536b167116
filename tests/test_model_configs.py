from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import modelwrap
from modelwrap import registry
from modelwrap import runtime as runtimes
from modelwrap.config.schema import config_schema
from modelwrap.errors import MissingSecret
from modelwrap.jsonc import parse
from modelwrap.runtime.auth import Credential, Token
from modelwrap.secrets import Secret
from tests.loopback import Loopback
from tests.stand_in import KEYS, Elsewhere, StandIn

GALLERY = Path(__file__).parent.parent / "model_configs"
FILES = sorted(GALLERY.glob("*.json"))

# These call no server.
IN_PROCESS = ("llama_cpp", "transformers", "transformers_embedding")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)


def test_each_file_is_listed() -> None:
    page = (GALLERY / "README.md").read_text("utf-8")

    assert set(re.findall(r"\]\((\w+\.json)\)", page)) == {path.name for path in FILES}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_loads_without_a_warning_and_fits_the_schema(path: Path) -> None:
    document = parse(path.read_bytes(), path.name).value

    models = modelwrap.load(path)

    assert len(models) == (len(document.get("models", "1")) if isinstance(document, dict) else len(document))
    assert [error.message for error in Draft202012Validator(config_schema()).iter_errors(document)] == []


@pytest.mark.usefixtures("keys")
def test_the_whole_folder_loads_and_shows_every_model_type() -> None:
    models = modelwrap.load(GALLERY)

    assert "gpt" in models
    assert {models.config(name).model_type for name in models} == set(registry.names())


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_config_is_explained_and_called(path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    # In place of whoever ran `az login` on this machine.
    login = Credential(lambda: Token(Secret("token-4Y7"), 3600.0))
    monkeypatch.setattr("modelwrap.models.azure.entra_credential", lambda *asked: login)
    models = modelwrap.load(path)
    asked = {name: model for name, model in models.items() if models.config(name).model_type not in IN_PROCESS}
    server.script(StandIn())

    with runtimes.played_by(lambda runtime: Elsewhere(runtime, server.base_url)):
        replies = {name: model("Name a river.") for name, model in asked.items()}

    for name, reply in replies.items():
        assert asked[name].explain("Name a river.").url.startswith("http")
        assert reply.text or reply.image_urls or reply.embeddings, name
    assert len(server.asked) >= len(asked)


def test_a_key_that_is_not_set_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(MissingSecret, match=r"openai\.json:8:20: \[0\]\.api_key: \$\{OPENAI_API_KEY\} is not set"):
        modelwrap.load(GALLERY / "openai.json")


def test_local_servers_need_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "vllm" in modelwrap.load(GALLERY / "openai_compatible.json")
