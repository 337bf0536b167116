"""Logins of Entra, by Microsoft's own package, against a stand-in for the machine's endpoint and a false `az`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import modelwrap
from modelwrap.errors import AuthenticationFailed, CredentialError, MissingPackage
from modelwrap.models import azure_login
from modelwrap.types import Reply
from tests.colours import Colour
from tests.loopback import Answer, Asked, Loopback, chat_answer, error_answer, json_answer

TOKEN = "entra-canary-token"


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Be the endpoint at which a machine of Azure's gets its own tokens."""
    machine = Loopback()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{machine.port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "identity-canary-header")
    machine.script(*tokens())
    yield machine
    machine.close()


def tokens(lifetime: float = 3600.0) -> list[Callable[[Asked], Answer]]:
    """Give tokens by number, as often as one is asked for."""
    given: list[int] = []

    def token(asked: Asked) -> Answer:
        given.append(1)
        expires = str(int(time.time() + lifetime))
        text = f"{TOKEN}-{len(given)}"
        return json_answer({"access_token": text, "expires_on": expires, "resource": "r", "token_type": "Bearer"})

    return [token]


def azure(server: Loopback, credential: str = "managed_identity", **config: Any) -> modelwrap.Model:
    client_args = {"azure_endpoint": f"http://127.0.0.1:{server.port}", "credential": credential}
    given = {"config_name": "a", "model_type": "azure_openai", "model": "gpt-4.1-mini", **config}
    return modelwrap.load({**given, "client_args": {**client_args, **config.get("client_args", {})}})["a"]


def sent(server: Loopback) -> list[str]:
    return [asked.headers["authorization"] for asked in server.asked]


def test_a_call_carries_a_token_of_the_machine_s(colour: Colour, server: Loopback, machine: Loopback) -> None:
    server.script(chat_answer())
    model = azure(server)

    replies = [colour.call(model) for _ in range(2)]

    assert [reply.text for reply in replies] == ["Hello", "Hello"]
    assert sent(server) == [f"Bearer {TOKEN}-1"] * 2
    assert len(machine.asked) == 1
    assert "resource=https://cognitiveservices.azure.com" in unquote(machine.asked[0].path)


@pytest.mark.parametrize("expired", [False, True])
def test_a_hundred_calls_of_either_colour_ask_for_one_token(server: Loopback, machine: Loopback, expired: bool) -> None:
    server.script(chat_answer())
    model: Any = azure(server)
    if expired:
        model("Hi")
        model.model.credential._clock = lambda: time.monotonic() + 2 * 3600
        server.asked.clear()
        machine.asked.clear()
    give = tokens()[0]

    def slowly(asked: Asked) -> Answer:
        time.sleep(0.15)
        return give(asked)

    machine.script(slowly)
    start = threading.Barrier(51)

    def call() -> Reply:
        start.wait()
        return model("Hi")

    async def crowd() -> list[Any]:
        start.wait()
        return await asyncio.gather(*(model.acall("Hi") for _ in range(50)))

    with ThreadPoolExecutor(51) as pool:
        blocking = [pool.submit(call) for _ in range(50)]
        concurrent = pool.submit(asyncio.run, crowd())
        replies = [*(one.result() for one in blocking), *concurrent.result()]

    assert len(replies) == len(server.asked) == 100
    assert set(sent(server)) == {f"Bearer {TOKEN}-1"}
    assert len(machine.asked) == 1


def test_a_refused_token_is_fetched_anew_once(colour: Colour, server: Loopback, machine: Loopback) -> None:
    server.script(error_answer(401, "expired"), chat_answer(), error_answer(401, f"no: {TOKEN}-2"))
    model = azure(server)

    reply = colour.call(model)
    with pytest.raises(AuthenticationFailed) as caught:
        colour.call(model)

    assert (reply.text, reply.meta.attempts) == ("Hello", 2)
    assert sent(server)[:2] == [f"Bearer {TOKEN}-1", f"Bearer {TOKEN}-2"]
    assert len(server.asked) == 4
    assert TOKEN not in str(caught.value) + repr(vars(caught.value))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_an_hour_off_costs_no_call(
    colour: Colour, server: Loopback, machine: Loopback, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    server.script(chat_answer())
    model = azure(server)
    right = time.time
    monkeypatch.setattr(azure_login.time, "time", lambda: right() + hours * 3600)

    replies = [colour.call(model) for _ in range(5)]

    assert [reply.text for reply in replies] == ["Hello"] * 5
    assert len(machine.asked) == 1


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_an_endpoint_that_refuses_is_a_credential_error(
    colour: Colour, server: Loopback, machine: Loopback, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "modelwrap")
    words = "no token for identity-canary-header, eyJhbGciOi.eyJzdWIiOi.c2ln"
    machine.script(json_answer({"error": "invalid_request", "error_description": words}, status))
    started = time.monotonic()

    with pytest.raises(CredentialError) as caught:
        colour.call(azure(server))

    assert time.monotonic() - started < 15
    assert (server.asked, caught.value.attempts, caught.value.retryable) == ([], 0, False)
    told = str(caught.value) + repr(vars(caught.value)) + caplog.text
    assert "managed_identity" in told
    assert "canary" not in told
    assert "eyJ" not in told


def test_an_endpoint_that_is_down_is_a_credential_error(
    colour: Colour, server: Loopback, machine: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")

    with pytest.raises(CredentialError, match="managed_identity"):
        colour.call(azure(server))


def test_an_endpoint_that_hangs_holds_no_call_past_its_limit(
    colour: Colour, server: Loopback, machine: Loopback
) -> None:
    machine.script(Answer(pieces=[0.6]))
    started = time.monotonic()

    with pytest.raises(CredentialError, match="no token came within"):
        colour.call(azure(server), timeout=0.15)

    assert time.monotonic() - started < 0.5
    assert server.asked == []


# By a program.


def false_az(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> Path:
    """Put a program named `az` on the path; it writes down that it was asked."""
    asked = folder / "asked"
    program = folder / "az"
    program.write_text(f"#!{sys.executable}\nimport json, sys, time\nopen({str(asked)!r}, 'a').write('x')\n{lines}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return asked


GOOD = f"""given = {{"accessToken": "{TOKEN}-az", "expires_on": int(time.time()) + 3600, "tokenType": "Bearer"}}
print(json.dumps(given))"""


@pytest.mark.skipif(os.name == "nt", reason="a program in Python needs another name there")
def test_az_login_is_enough(colour: Colour, server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = false_az(tmp_path, monkeypatch, GOOD)
    server.script(chat_answer())
    model = azure(server, "cli")

    for _ in range(3):
        colour.call(model)

    assert sent(server) == [f"Bearer {TOKEN}-az"] * 3
    assert asked.read_text() == "x"


@pytest.mark.skipif(os.name == "nt", reason="a program in Python needs another name there")
@pytest.mark.parametrize(
    "lines, words",
    [
        ("sys.stderr.write(\"ERROR: Please run 'az login' to setup account.\"); sys.exit(1)", "az login"),
        ("print('nonsense')", "cli"),
    ],
)
def test_az_without_a_login_says_what_to_do(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, words: str
) -> None:
    false_az(tmp_path, monkeypatch, lines)

    with pytest.raises(CredentialError, match=words):
        azure(server, "cli")("Hi")


def test_without_the_package_a_config_says_how_to_get_it(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)

    with pytest.raises(MissingPackage, match=r"modelwrap\[azure\]"):
        azure(server)


def test_no_key_at_all_means_the_usual_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str]] = []
    monkeypatch.setattr("modelwrap.models.azure.entra_credential", lambda *asked: made.append(asked))

    config = {"config_name": "a", "model_type": "azure_openai", "model": "gpt-4.1-mini"}
    modelwrap.load({**config, "client_args": {"azure_endpoint": "https://mine.openai.azure.us"}})

    assert made == [("default", "https://cognitiveservices.azure.us/.default")]


@pytest.mark.parametrize("login", azure_login._CLASSES)
def test_every_login_can_be_made(login: azure_login.Login, monkeypatch: pytest.MonkeyPatch) -> None:
    import azure.identity

    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.setenv(name, "00000000-0000-0000-0000-000000000001")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/dev/null")
    make = getattr(azure.identity, azure_login._CLASSES[login])

    with make(**azure_login._options(login)) as made:
        assert callable(made.get_token)
