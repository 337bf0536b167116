"""Calls that a vendor's own client carries."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import modelwrap
from modelwrap import runtime as runtimes
from modelwrap.config import ModelConfig
from modelwrap.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    CredentialError,
    InvalidResponse,
    MissingPackage,
    RealRequestForbidden,
    RedirectRefused,
    TimedOut,
)
from modelwrap.models import sdk_clients
from modelwrap.runtime import vendor_client
from modelwrap.testing import record, replay
from tests.colours import Colour
from tests.loopback import Answer, Asked, Loopback, chat_answer, error_answer, json_answer, stream_answer

KEY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def no_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on who runs it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after the test which clients it registered."""
    monkeypatch.setattr(sdk_clients, "_known", dict(sdk_clients._known))


def entry(**keys: Any) -> dict[str, Any]:
    return {"config_name": "m", "model_type": "openai", "model": "gpt-test", "transport": "sdk", **keys}


def load(**keys: Any) -> modelwrap.Model:
    return modelwrap.load(entry(**keys))["m"]


def plain(server: Loopback, **keys: Any) -> modelwrap.Model:
    client_args = {"base_url": server.base_url, **keys.pop("client_args", {})}
    return load(**{"api_key": KEY, **keys}, client_args=client_args)


def test_the_client_sends_the_same_body_as_we_do(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer("Hello"))
    parameters: dict[str, Any] = {"temperature": 0.5, "extra_body": {"vendor": "größer"}, "stop": ["."]}
    ours = plain(server, transport="http")

    reply = colour.call(plain(server), "Hi", **parameters)
    colour.call(ours, "Hi", **parameters)

    theirs, own = server.asked
    assert reply.text == "Hello"
    assert (theirs.path, theirs.body) == (own.path, own.body)
    assert theirs.headers["authorization"] == own.headers["authorization"] == f"Bearer {KEY}"
    assert "OpenAI/Python" in theirs.headers["user-agent"]
    assert reply.meta.endpoint == server.base_url.removesuffix("/v1")
    assert reply.meta.request_id == "req-1"


def test_the_client_carries_streams(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer("Hel", "lo"))

    chunks, reply = colour.stream(plain(server))

    assert [chunk.text for chunk in chunks][:2] == ["Hel", "lo"]
    assert reply.text == "Hello"
    assert reply.meta.done
    assert server.asked[0].body["stream"] is True


def test_what_a_call_adds_goes_through_the_client(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())
    model = plain(
        server,
        organization="org-1",
        client_args={
            "project": "project-1",
            "default_headers": {"X-Default": "yes", "X-Other": "config"},
            "default_query": {"trace": "on"},
        },
    )

    colour.call(model, "Hi", extra_headers={"X-Other": "call", "User-Agent": "mine/1"}, extra_query={"page": 2})

    (asked,) = server.asked
    names = ("x-default", "x-other", "openai-organization", "openai-project", "user-agent", "content-type")
    assert [asked.headers[name] for name in names] == [
        *("yes", "call", "org-1", "project-1", "mine/1", "application/json")
    ]
    assert asked.path == "/v1/chat/completions?trace=on&page=2"


def test_retries_are_ours_alone(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(500, retry_after="0"), error_answer(503, retry_after="0"), chat_answer())

    reply = colour.call(plain(server))

    assert reply.meta.attempts == 3
    assert [asked.headers["x-stainless-retry-count"] for asked in server.asked] == ["0", "0", "0"]


def test_a_refusal_is_the_error_that_it_is_without_the_client(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(401, f"wrong key {KEY}", "invalid_api_key", x_request_id="req-9"))

    for use in (colour.call, colour.stream):
        with pytest.raises(AuthenticationFailed) as caught:
            use(plain(server))

        assert (caught.value.status, caught.value.code, caught.value.request_id) == (401, "invalid_api_key", "req-9")
        assert caught.value.message == "wrong key ***"
        assert KEY not in f"{caught.value.body}"
        assert caught.value.__cause__ is None
    assert len(server.asked) == 2


def test_our_limits_hold(colour: Colour, server: Loopback) -> None:
    server.script(Answer(200, {}, [0.2, b"{}"]))

    with pytest.raises(TimedOut, match="longer than 0.1 s in all"):
        colour.call(plain(server), timeout=0.1)
    with pytest.raises(TimedOut, match=r"no first token within 0\.1 s"):
        colour.stream(plain(server), timeout={"first_token": 0.1}, max_retries=0)


def test_a_lost_connection_is_our_error(colour: Colour) -> None:
    server = Loopback()
    model = plain(server)
    server.close()

    with pytest.raises(ConnectionFailed) as caught:
        colour.call(model, max_retries=0)

    assert not caught.value.sent


def test_a_redirect_is_refused(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({}, 307, location="https://elsewhere.example.com/v1"))

    with pytest.raises(RedirectRefused):
        colour.call(plain(server))

    assert len(server.asked) == 1


def test_the_client_keeps_no_cookies(colour: Colour, server: Loopback) -> None:
    whole = chat_answer()
    server.script(Answer(200, {**whole.headers, "set-cookie": "a=1; Path=/"}, whole.pieces), chat_answer())
    model = plain(server)

    colour.call(model)
    colour.call(model)

    assert "cookie" not in server.asked[1].headers


def test_explain_shows_what_the_client_would_send(server: Loopback) -> None:
    server.script(chat_answer())
    model = plain(server)

    explained = model.explain("Hi")
    assert server.asked == []
    model("Hi")

    (asked,) = server.asked
    framing = ("host", "content-length", "connection")
    sent = {name: value for name, value in asked.headers.items() if name not in framing}
    assert explained.url == server.base_url + "/chat/completions"
    assert explained.body == asked.body
    assert explained.headers == {**sent, "authorization": "***"}


def test_what_the_client_sends_is_recorded_and_played(colour: Colour, server: Loopback, tmp_path: Path) -> None:
    server.script(chat_answer("Hello"), stream_answer("Hel", "lo"))
    model = plain(server)

    with record(tmp_path / "sdk.json"):
        colour.call(model)
        colour.stream(model)
    with replay(tmp_path / "sdk.json"), runtimes.forbidden("this is a replay"):
        played = colour.call(model).text, colour.stream(model)[1].text

    assert played == ("Hello", "Hello")
    assert KEY not in (tmp_path / "sdk.json").read_text()
    assert len(server.asked) == 2


def test_nothing_goes_out_where_requests_are_forbidden(colour: Colour, server: Loopback) -> None:
    with runtimes.forbidden("a test"), pytest.raises(RealRequestForbidden):
        colour.call(plain(server))

    assert server.asked == []


def test_threads_and_loops_share_a_model(server: Loopback) -> None:
    server.script(lambda asked: chat_answer(asked.body["messages"][0]["content"]))
    model = plain(server)
    seen: list[str] = []

    async def several(loop: int) -> None:
        replies = await asyncio.gather(*(model.acall(f"{loop} {number}") for number in range(5)))
        seen.extend(reply.text for reply in replies)

    threads = [threading.Thread(target=lambda text=f"thread {n}": seen.append(model(text).text)) for n in range(8)]
    for thread in threads:
        thread.start()
    for loop in range(3):
        asyncio.run(several(loop))
    for thread in threads:
        thread.join()

    expected = [f"thread {n}" for n in range(8)] + [f"{loop} {number}" for loop in range(3) for number in range(5)]
    assert sorted(seen) == sorted(expected)


def test_a_forked_child_makes_clients_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = vendor_client.Clients(lambda http_client: object(), lambda http_client: object())
    ours = clients.of_thread()

    assert clients.of_thread() is ours
    monkeypatch.setattr(vendor_client.os, "getpid", lambda: -1)
    assert clients.of_thread() is not ours


@pytest.mark.parametrize(
    "answer", [Answer(raw=True, pieces=[0.2]), Answer(200, {}, [0.2, b"{}"])], ids=["head", "body"]
)
def test_a_cancelled_call_leaves_nothing_behind(server: Loopback, answer: Answer) -> None:
    server.script(answer)
    model = plain(server)

    async def cancelled() -> int:
        call = asyncio.create_task(model.acall("Hi"))
        while not server.asked:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return len(asyncio.all_tasks())

    assert asyncio.run(cancelled()) == 1


# Logins.


def azure(server: Loopback, **keys: Any) -> modelwrap.Model:
    own = {"azure_endpoint": server.base_url.removesuffix("/v1"), "api_version": "2026-01-01"}
    client_args = {**own, **keys.pop("client_args", {})}
    return load(sdk_client="AzureOpenAI", client_args=client_args, **keys)


def test_azure_logs_in_with_a_key(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer("Hello"), stream_answer("Hello"))
    model = azure(server, api_key=KEY)

    replies = colour.call(model), colour.stream(model)[1]

    assert [reply.text for reply in replies] == ["Hello", "Hello"]
    for asked in server.asked:
        assert asked.path == "/openai/deployments/gpt-test/chat/completions?api-version=2026-01-01"
        assert asked.headers["api-key"] == KEY
        assert "authorization" not in asked.headers


def test_azure_takes_a_deployment_and_a_token(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(401, "wrong token token-canary-1234"))
    model = azure(server, client_args={"azure_deployment": "here", "azure_ad_token": "token-canary-1234"})

    with pytest.raises(AuthenticationFailed, match=r"wrong token \*\*\*"):
        colour.call(model)

    (asked,) = server.asked
    assert asked.path == "/openai/deployments/here/chat/completions?api-version=2026-01-01"
    assert asked.headers["authorization"] == "Bearer token-canary-1234"


class TokenLogin(httpx2.Auth):
    """Log in with a token, and with a new one where the server refuses it."""

    def __init__(self) -> None:
        self.tokens = iter(["token-canary-old", "token-canary-new"])
        self.token = next(self.tokens)

    def auth_flow(self, request: httpx2.Request) -> Any:
        request.headers["authorization"] = f"Bearer {self.token}"
        response = yield request
        if response.status_code == 401:
            self.token = next(self.tokens)
            request.headers["authorization"] = f"Bearer {self.token}"
            yield request


class CompanyOpenAI(openai.OpenAI):
    def __init__(self, team: str, **arguments: Any) -> None:
        super().__init__(api_key="unused", default_headers={"x-team": team}, **arguments)
        self.login = TokenLogin()

    def _custom_auth(self, security: Any) -> httpx2.Auth:
        return self.login


class AsyncCompanyOpenAI(openai.AsyncOpenAI):
    def __init__(self, team: str, **arguments: Any) -> None:
        super().__init__(api_key="unused", default_headers={"x-team": team}, **arguments)
        self.login = TokenLogin()

    @property
    def custom_auth(self) -> httpx2.Auth:
        return self.login


def test_a_registered_client_logs_in_its_own_way(registered: None, colour: Colour, server: Loopback) -> None:
    def answer(asked: Asked) -> Answer:
        known = asked.headers["authorization"] == "Bearer token-canary-new"
        return chat_answer("Hello") if known else error_answer(401, "the token is old")

    server.script(answer)
    modelwrap.register_sdk_client("CompanyOpenAI", CompanyOpenAI, AsyncCompanyOpenAI)
    model = load(sdk_client="CompanyOpenAI", client_args={"base_url": server.base_url, "team": "blue"})

    reply = colour.call(model)

    assert reply.text == "Hello"
    assert reply.meta.attempts == 1
    assert [asked.headers["x-team"] for asked in server.asked] == ["blue", "blue"]


def test_a_token_that_only_the_client_knows_stays_hidden(registered: None, colour: Colour, server: Loopback) -> None:
    server.script(lambda asked: error_answer(403, f"refused {asked.headers['authorization']}"))
    modelwrap.register_sdk_client("CompanyOpenAI", CompanyOpenAI, AsyncCompanyOpenAI)
    model = load(sdk_client="CompanyOpenAI", client_args={"base_url": server.base_url, "team": "blue"})

    with pytest.raises(modelwrap.PermissionDenied) as caught:
        colour.call(model)

    assert "token-canary" not in f"{caught.value} {caught.value.body}"


def made_by(login: Any) -> tuple[Any, Any]:
    """Give makers of clients that log in by `login`, which may raise."""

    class Blocking(openai.OpenAI):
        def _prepare_request(self, request: httpx2.Request) -> None:
            login(request)

    class Concurrent(openai.AsyncOpenAI):
        async def _prepare_request(self, request: httpx2.Request) -> None:
            if asyncio.iscoroutine(waiting := login(request)):
                await waiting

    return Blocking, Concurrent


@pytest.mark.parametrize(
    "raised, expected, words",
    [
        (RuntimeError(f"no ticket for {KEY}"), CredentialError, "could not log in: RuntimeError: no ticket for ***"),
        (ImportError("No module named 'kerberos'"), MissingPackage, "No module named 'kerberos'"),
    ],
)
def test_a_login_that_fails_is_told_as_such(
    registered: None, colour: Colour, server: Loopback, raised: Exception, expected: type[Exception], words: str
) -> None:
    def login(request: httpx2.Request) -> None:
        raise raised

    modelwrap.register_sdk_client("Kerberised", *made_by(login))

    with pytest.raises(expected, match=re.escape(words)) as caught:
        colour.call(plain(server, sdk_client="Kerberised"))

    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert server.asked == []


def test_a_login_that_hangs_ends_with_the_deadline(registered: None, server: Loopback) -> None:
    modelwrap.register_sdk_client("Slow", *made_by(lambda request: asyncio.sleep(30)))

    with pytest.raises(TimedOut, match="in all"):
        Colour("concurrent").call(plain(server, sdk_client="Slow"), timeout=0.1)


def test_a_client_that_trips_over_the_answer_is_told_as_such(
    registered: None, colour: Colour, server: Loopback
) -> None:
    def tripped(*_: Any, **__: Any) -> None:
        raise KeyError("usage")

    async def atripped(*_: Any, **__: Any) -> None:
        raise KeyError("usage")

    blocking = type("Tripping", (openai.OpenAI,), {"_process_response": tripped})
    concurrent = type("AsyncTripping", (openai.AsyncOpenAI,), {"_process_response": atripped})
    modelwrap.register_sdk_client("Tripping", blocking, concurrent)
    server.script(chat_answer())

    with pytest.raises(InvalidResponse, match="the client failed over the answer: KeyError"):
        colour.call(plain(server, sdk_client="Tripping"))


def test_a_client_that_sends_by_itself_is_refused(registered: None, colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())
    own = httpx2.MockTransport(lambda request: httpx2.Response(200, json={}))

    def blocking(http_client: Any, **arguments: Any) -> openai.OpenAI:
        return openai.OpenAI(http_client=httpx2.Client(transport=own), **arguments)

    def concurrent(http_client: Any, **arguments: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(http_client=httpx2.AsyncClient(transport=own), **arguments)

    modelwrap.register_sdk_client("Stubborn", blocking, concurrent)

    with pytest.raises(CredentialError, match="past the http_client that it was given"):
        colour.call(plain(server, sdk_client="Stubborn"))


def test_a_name_is_registered_once(registered: None) -> None:
    modelwrap.register_sdk_client("CompanyOpenAI", CompanyOpenAI, AsyncCompanyOpenAI)
    modelwrap.register_sdk_client("CompanyOpenAI", CompanyOpenAI, AsyncCompanyOpenAI)

    with pytest.raises(ConfigError, match="'OpenAI' is registered already"):
        modelwrap.register_sdk_client("OpenAI", CompanyOpenAI, AsyncCompanyOpenAI)


@pytest.mark.parametrize("target", ["no_such_package:Client", "openai:NoSuchClient"])
def test_a_registered_client_that_is_not_there_is_named(registered: None, target: str) -> None:
    modelwrap.register_sdk_client("Gone", target, target)

    with pytest.raises(ConfigError, match=f"sdk_client Gone should be {target}, which cannot be imported"):
        load(sdk_client="Gone", api_key=KEY)


# Configs.


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"sdk_client": "AzureOpenAi"}, 'sdk_client: there is no such client .* did you mean "AzureOpenAI"[?] known'),
        ({"sdk_client": "AnthropicBedrock"}, "known are AzureOpenAI, BedrockOpenAI, OpenAI"),
        ({"transport": "http", "sdk_client": "OpenAI"}, 'sdk_client: names the client of "transport": "sdk"'),
        ({"transport": "skd"}, "transport: must be \"?'?http"),
        (
            {"api_key": "k-1", "client_args": {"azure_endpont": "https://a.example.com"}},
            "client_args.azure_endpont: OpenAI takes no azure_endpont; it takes .*base_url",
        ),
        (
            {"sdk_client": "AzureOpenAI", "api_key": "k-1", "client_args": {"azure_endpont": "https://a.example.com"}},
            'client_args.azure_endpont: .*did you mean "azure_endpoint"',
        ),
        ({"client_args": {"api_key": "k-1"}}, "client_args.api_key: belongs at the top level"),
        ({"client_args": {"http_client": 1}, "api_key": "k-1"}, "client_args.http_client: OpenAI takes no http_client"),
        (
            {"transport": "http", "client_args": {"azure_endpoint": "https://a.example.com"}},
            "client_args.azure_endpoint: unknown key",
        ),
        ({"transport": "http", "client_args": {"temperature": 1}}, "client_args.temperature: belongs in generate_args"),
        (
            {"sdk_client": "AzureOpenAI", "api_key": "k-canary", "client_args": {"api_version": "1"}},
            "sdk_client: AzureOpenAI cannot be made: ValueError: Must provide one of the `base_url`",
        ),
        ({"client_args": {"base_url": "http://user@host"}}, "client_args.base_url: a user name"),
        ({"client_args": "https://example.com"}, "client_args: must be an object"),
        (
            {"api_key": "k-1", "client_args": {"base_url": "http://example.com/v1"}},
            "client_args.base_url: plain http would show the key",
        ),
    ],
)
def test_a_mistake_in_a_config_is_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load(**keys)

    assert "k-canary" not in str(caught.value)


def test_a_key_from_the_environment_goes_to_its_own_host_only(
    monkeypatch: pytest.MonkeyPatch, colour: Colour, server: Loopback
) -> None:
    server.script(chat_answer())
    with pytest.raises(ConfigError, match="sdk_client: OpenAI cannot be made: .*OPENAI_API_KEY"):
        load()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    colour.call(load(client_args={"base_url": server.base_url}))

    assert server.asked[0].headers["authorization"] == "Bearer EMPTY"
    assert load().explain("Hi").url == "https://api.openai.com/v1/chat/completions"


@pytest.mark.parametrize(
    "keys, sent", [({}, KEY), ({"api_key": "EMPTY"}, "EMPTY"), ({"api_key": "sk-mine"}, "sk-mine")]
)
def test_at_home_the_client_looks_for_a_key_unless_the_config_speaks_of_one(
    monkeypatch: pytest.MonkeyPatch, registered: None, keys: dict[str, str], sent: str
) -> None:
    seen: list[str] = []
    watched = sdk_clients.SdkClient("openai", *made_by(lambda request: seen.append(request.headers["authorization"])))
    monkeypatch.setitem(sdk_clients._known, "OpenAI", watched)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    load(**keys).explain("Hi")

    assert seen == [f"Bearer {sent}"]


def test_the_variables_of_the_client_change_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example.com/v1")

    assert load(api_key=KEY).explain("Hi").url == "https://api.openai.com/v1/chat/completions"


def test_credentials_in_client_args_are_hidden() -> None:
    own = {"azure_endpoint": "https://a.example.com", "api_version": "1", "azure_ad_token": "token-canary-1"}
    models = modelwrap.load(entry(sdk_client="AzureOpenAI", client_args=own))
    config: ModelConfig = models.config("m")

    shown = f"{config!r} {config} {config.model_dump_json()} {models['m']!r} {vars(models['m'])}"

    assert "token-canary-1" not in shown
    assert json.loads(config.model_dump_json())["client_args"]["azure_ad_token"] == "***"
    assert config == modelwrap.load(entry(sdk_client="AzureOpenAI", client_args=own)).config("m")


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)

    with pytest.raises(MissingPackage, match=r'pip install "modelwrap\[openai\]"'):
        load(api_key=KEY)


def test_no_client_is_imported_unless_a_config_asks_for_it() -> None:
    code = """
import sys, modelwrap
entry = {"config_name": "m", "model_type": "openai", "model": "m", "api_key": "k-1"}
modelwrap.load(entry)["m"].explain("Hi")
assert not {"openai", "anthropic", "modelwrap.runtime.vendor_client"} & sys.modules.keys()
"""

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
