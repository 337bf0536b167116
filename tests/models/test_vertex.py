"""Gemini on Vertex: where it is, and who says that he is calling."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError

import modelwrap
from modelwrap.errors import AuthenticationFailed, ConfigError, CredentialError, MissingPackage
from modelwrap.models.google_login import _lifetime
from tests.colours import Colour
from tests.gemini_wire import answer, pieces_of, refusal, stream_answer, whole_answer
from tests.loopback import Answer, Loopback, json_answer

HOME = "/v1beta1/projects/mine/locations/global/publishers/google"


class Login:
    """Stand in for Google's credentials: a new token with each refresh."""

    def __init__(self) -> None:
        self.refreshed = 0
        self.token = ""
        self.expiry: datetime | None = None

    def refresh(self, request: Any) -> None:
        self.refreshed += 1
        self.token = f"ya29.canary-{self.refreshed}"
        self.expiry = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Login:
    login = Login()
    monkeypatch.setattr(google.auth, "default", lambda scopes: (login, "another"))
    return login


def model_at(server: Loopback | None = None, model_type: str = "gemini", **config: Any) -> modelwrap.Model:
    client_args = {"vertexai": True, "project": "mine", **config.pop("client_args", {})}
    if server is not None:
        client_args["base_url"] = f"http://127.0.0.1:{server.port}"
    given = {"config_name": "g", "model_type": model_type, "model": "gemini-3.8-flash", **config}
    return modelwrap.load({**given, "client_args": client_args})["g"]


@pytest.mark.parametrize(
    "name, path",
    [
        ("gemini-3.8-flash", "projects/mine/locations/global/publishers/google/models/gemini-3.8-flash"),
        ("google/gemini-3.8-flash", "projects/mine/locations/global/publishers/google/models/gemini-3.8-flash"),
        ("meta/llama-4", "projects/mine/locations/global/publishers/meta/models/llama-4"),
        ("publishers/meta/models/llama-4", "projects/mine/locations/global/publishers/meta/models/llama-4"),
        ("projects/other/locations/us/endpoints/7", "projects/other/locations/us/endpoints/7"),
    ],
)
def test_a_model_may_be_another_publishers_or_a_projects_own(login: Login, name: str, path: str) -> None:
    explained = model_at(model=name).explain("Hi")

    assert explained.url == f"https://aiplatform.googleapis.com/v1beta1/{path}:generateContent"


def test_a_call_carries_a_token_that_google_gave(colour: Colour, server: Loopback, login: Login) -> None:
    server.script(whole_answer("So."), stream_answer(pieces_of("So", ".")))
    model = model_at(server)

    whole = colour.call(model)
    _, streamed = colour.stream(model)

    assert whole.text == streamed.text == "So."
    assert [asked.path for asked in server.asked] == [
        f"{HOME}/models/gemini-3.8-flash:generateContent",
        f"{HOME}/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
    ]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer ya29.canary-1"}
    assert not any("x-goog-api-key" in asked.headers for asked in server.asked)
    assert login.refreshed == 1


def test_a_token_that_is_refused_is_fetched_anew_once(colour: Colour, server: Loopback, login: Login) -> None:
    no = refusal(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
    server.script(no, whole_answer("So."), no)
    model = model_at(server)

    reply = colour.call(model)

    assert reply.text == "So."
    assert [asked.headers["authorization"] for asked in server.asked] == [
        "Bearer ya29.canary-1",
        "Bearer ya29.canary-2",
    ]
    with pytest.raises(AuthenticationFailed) as caught:
        colour.call(model)
    assert "canary" not in str(caught.value)


def test_a_paused_stream_is_gone_on_with_by_the_same_token(colour: Colour, server: Loopback, login: Login) -> None:
    pause = answer("One, ", reason="CONTINUATION", continuationToken="dG9r")
    server.script(stream_answer([pause]), stream_answer(pieces_of("two", ".")))

    _, reply = colour.stream(model_at(server))

    assert reply.text == "One, two."
    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer ya29.canary-1"] * 2


def test_vectors_are_asked_for_with_a_token_too(colour: Colour, server: Loopback, login: Login) -> None:
    server.script(json_answer({"embedding": {"values": [1.0]}}))

    reply = colour.call(model_at(server, "gemini_embedding", model="gemini-embedding-2"), ["a", "b"])

    assert reply.embeddings == [[1.0], [1.0]]
    assert [asked.path for asked in server.asked] == [f"{HOME}/models/gemini-embedding-2:embedContent"] * 2
    assert server.asked[0].headers["authorization"] == "Bearer ya29.canary-1"


def test_no_credentials_are_told_with_what_to_do(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    def default(scopes: Any) -> Any:
        raise DefaultCredentialsError("no")

    monkeypatch.setattr(google.auth, "default", default)

    with pytest.raises(CredentialError, match="gcloud auth application-default login"):
        colour.call(model_at(server))

    assert not server.asked


def test_the_package_that_logs_in_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth.transport.requests", None)

    with pytest.raises(MissingPackage, match=r"modelwrap\[vertex\]"):
        model_at()


@pytest.mark.parametrize(
    "client_args, host, path",
    [
        ({}, "aiplatform.googleapis.com", "/v1beta1/projects/mine/locations/global"),
        (
            {"location": "europe-west4"},
            "europe-west4-aiplatform.googleapis.com",
            "/v1beta1/projects/mine/locations/europe-west4",
        ),
        ({"location": "eu"}, "aiplatform.eu.rep.googleapis.com", "/v1beta1/projects/mine/locations/eu"),
        ({"base_url": "https://gateway.example/v1"}, "gateway.example", "/v1/projects/mine/locations/global"),
        (
            {"base_url": "https://gateway.example/v1beta1/projects/p/locations/l/publishers/google"},
            "gateway.example",
            "/v1beta1/projects/p/locations/l",
        ),
    ],
)
def test_the_place_is_in_the_url(client_args: dict[str, Any], host: str, path: str, login: Login) -> None:
    explained = model_at(client_args=client_args).explain("Hi")

    assert explained.url == f"https://{host}{path}/publishers/google/models/gemini-3.8-flash:generateContent"
    assert "authorization" in explained.headers
    assert "canary" not in str(explained)


def test_project_and_place_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, login: Login) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "ours")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-east1")

    url = model_at(client_args={"project": None}).explain("Hi").url

    assert url.startswith("https://us-east1-aiplatform.googleapis.com/v1beta1/projects/ours/locations/us-east1/")


def test_a_project_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="GOOGLE_CLOUD_PROJECT"):
        model_at(client_args={"project": None})


def test_a_key_needs_neither_project_nor_login(colour: Colour, server: Loopback) -> None:
    server.script(whole_answer("So."))

    reply = colour.call(model_at(server, api_key="AQ.canary", client_args={"project": None}))

    assert reply.text == "So."
    (asked,) = server.asked
    assert asked.path == "/v1beta1/publishers/google/models/gemini-3.8-flash:generateContent"
    assert asked.headers["x-goog-api-key"] == "AQ.canary"
    assert "authorization" not in asked.headers


def test_a_header_of_ones_own_says_who_asks(server: Loopback) -> None:
    server.script(whole_answer("So."))

    model_at(server, client_args={"default_headers": {"Authorization": "Bearer mine"}})("Hi")

    assert server.asked[0].headers["authorization"] == "Bearer mine"


def test_a_token_goes_over_plain_http_to_nobody(login: Login) -> None:
    with pytest.raises(ConfigError, match="http"):
        modelwrap.load(
            {
                "config_name": "g",
                "model_type": "gemini",
                "client_args": {"vertexai": True, "project": "mine", "base_url": "http://gateway.example"},
            }
        )


def test_media_whose_type_nobody_tells_go_out_as_bytes(colour: Colour, server: Loopback) -> None:
    picture = b"\x89PNG\r\n\x1a\n"
    sent = Answer(200, {"content-type": "image/png", "content-length": str(len(picture))}, [picture])
    server.script(sent, whole_answer("A picture."))
    host = f"127.0.0.1:{server.port}"
    model = model_at(server, api_key="k", media={"private_hosts": [host]})
    urls = (f"http://{host}/a", f"http://{host}/b.jpg")
    look = [{"type": "image_url", "image_url": {"url": url}} for url in urls]

    colour.call(model, [{"role": "user", "content": look}])

    fetched, asked = server.asked
    assert fetched.path == "/a"
    assert asked.body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": urls[1]}},
    ]


def test_what_holds_on_vertex_holds_behind_a_gateway(server: Loopback, login: Login) -> None:
    server.script(whole_answer({"text": "So.", "thoughtSignature": "c2ln"}))
    look = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]

    reply = model_at(server)([{"role": "user", "content": look}])

    parts = server.asked[0].body["contents"][0]["parts"]
    assert parts == [{"fileData": {"fileUri": "https://example.com/a.png", "mimeType": "image/png"}}]
    message = reply.choices[0].message.model_dump()
    assert message["extra_content"] == {"google": {"thought_signature": "c2ln", "platform": "vertex"}}


@pytest.mark.parametrize(
    "expiry, least, most",
    [
        (lambda: None, 300, 300),
        (lambda: datetime.now(UTC) + timedelta(hours=2), 7100, 7200),
        (lambda: (datetime.now(UTC) + timedelta(hours=2)).replace(tzinfo=None), 7100, 7200),
        (lambda: datetime(2020, 1, 1, tzinfo=UTC), 0, 0),
    ],
)
def test_the_life_of_a_token_is_counted(expiry: Callable[[], datetime | None], least: float, most: float) -> None:
    assert least <= _lifetime(expiry()) <= most
