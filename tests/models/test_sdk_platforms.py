"""Models on other people's platforms: what their clients sign and rewrite is what goes out."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any
from urllib.parse import urlsplit

import google.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import modelwrap
from modelwrap.errors import (
    AuthenticationFailed,
    BadRequest,
    ConfigError,
    CredentialError,
    InvalidResponse,
    MissingPackage,
    Overloaded,
    RateLimited,
    StreamFailed,
    StreamTruncated,
)
from modelwrap.testing import record, replay
from tests.aws_frames import chunk, exception
from tests.colours import Colour
from tests.loopback import Answer, Asked, Loopback, chat_answer, event, json_answer

ACCESS, SECRET, SESSION = "AKIACANARY123456", "canary/secret+key", "canary-session-token"
REGION = "us-east-1"
MODEL = "anthropic.claude-opus-5-20260401-v1:0"

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
AWS_STREAM = "application/vnd.amazon.eventstream"


@pytest.fixture(autouse=True)
def no_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on who runs it."""
    for name in (
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "AWS_REGION"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "ANTHROPIC_FOUNDRY_API_KEY"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/no/such/file")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")


def whole(text: str = "Hello") -> Answer:
    return json_answer({**MESSAGE, "content": [{"type": "text", "text": text}]})


def sse() -> Answer:
    pieces = [b"event: " + one["type"].encode() + b"\n" + event(one) for one in EVENTS]
    return Answer(200, {"content-type": "text/event-stream"}, list(pieces))


def amazon(*pieces: bytes | float, cut: bool = False) -> Answer:
    return Answer(200, {"content-type": AWS_STREAM}, list(pieces), cut=cut)


def amazon_events() -> list[bytes]:
    return [chunk(one) for one in EVENTS]


def load(client: str | None, model: str = MODEL, **keys: Any) -> modelwrap.Model:
    sdk = {"transport": "sdk", **({"sdk_client": client} if client else {})}
    entry = {"config_name": "m", "model_type": "claude", "model": model, **sdk, **keys}
    return modelwrap.load(entry)["m"]


def root(server: Loopback) -> str:
    return server.base_url.removesuffix("/v1")


def bedrock(server: Loopback, **client_args: Any) -> modelwrap.Model:
    keys = {"aws_access_key": ACCESS, "aws_secret_key": SECRET, "aws_session_token": SESSION}
    return load("AnthropicBedrock", client_args={"base_url": root(server), "aws_region": REGION, **keys, **client_args})


def vertex(server: Loopback, **client_args: Any) -> modelwrap.Model:
    own = {"base_url": server.base_url, "region": "us-east5", "project_id": "p-1"}
    return load("AnthropicVertex", "claude-opus-5", client_args={**own, **client_args})


def signature(asked: Asked, service: str) -> tuple[str, str]:
    """Sign what the server was asked as the client should have, and give both signatures."""
    _, _, rest = asked.headers["authorization"].partition(" ")
    said = dict(part.strip().split("=", 1) for part in rest.split(","))
    signed = {name: asked.headers[name] for name in said["SignedHeaders"].split(";")}
    assert said["Credential"] == f"{ACCESS}/{asked.headers['x-amz-date'][:8]}/{REGION}/{service}/aws4_request"
    request = AWSRequest("POST", f"http://{asked.headers['host']}{asked.path}", signed, asked.content)
    request.context["timestamp"] = asked.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(ACCESS, SECRET, SESSION), service, REGION)
    return said["Signature"], signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )


def test_what_goes_out_to_bedrock_is_what_was_signed(colour: Colour, server: Loopback) -> None:
    server.script(whole())

    reply = colour.call(bedrock(server), "größer?", max_tokens=50)

    (asked,) = server.asked
    sent, right = signature(asked, "bedrock")
    assert sent == right
    assert reply.text == "Hello"
    assert asked.path == f"/model/{MODEL}/invoke"
    assert asked.headers["x-amz-security-token"] == SESSION
    assert asked.body["messages"] == [{"role": "user", "content": "größer?"}]
    assert asked.body["max_tokens"] == 50
    assert asked.body["anthropic_version"]
    assert not asked.body.keys() & {"model", "stream"}


def test_a_stream_of_bedrock_is_read(colour: Colour, server: Loopback) -> None:
    server.script(amazon(*amazon_events()))

    chunks, reply = colour.stream(bedrock(server))

    (asked,) = server.asked
    assert asked.path == f"/model/{MODEL}/invoke-with-response-stream"
    assert [one.text for one in chunks if one.text] == ["Hel", "lo"]
    assert reply.text == "Hello"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.meta.usage is not None
    assert reply.meta.usage.total == 5
    assert "stream" not in asked.body


def test_a_stream_of_bedrock_may_be_cut_into_any_pieces(server: Loopback) -> None:
    data = b"".join(amazon_events())
    server.script(amazon(*(data[start : start + 7] for start in range(0, len(data), 7))))

    assert bedrock(server).stream("Hi").reply.text == "Hello"


def test_a_stream_of_bedrock_that_breaks_off_is_told(colour: Colour, server: Loopback) -> None:
    server.script(amazon(*amazon_events()[:4], cut=True))

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(bedrock(server))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hello"


def test_errors_in_a_stream_of_bedrock_are_what_they_say(colour: Colour, server: Loopback) -> None:
    model = bedrock(server)

    server.script(amazon(exception("throttlingException", "Too many tokens, please wait")))
    with pytest.raises(RateLimited, match="Too many tokens") as early:
        colour.stream(model, max_retries=0)
    server.script(amazon(exception("serviceUnavailableException", "try later")))
    with pytest.raises(Overloaded, match="try later"):
        colour.stream(model, max_retries=0)
    server.script(amazon(*amazon_events()[:3], exception("serviceUnavailableException", "gone")))
    with pytest.raises(StreamFailed, match="gone") as late:
        colour.stream(model, max_retries=0)
    damaged = bytearray(b"".join(amazon_events()))
    damaged[40] ^= 1
    server.script(amazon(bytes(damaged)))
    with pytest.raises(InvalidResponse, match="damaged"):
        colour.stream(model, max_retries=0)

    assert early.value.retryable
    assert not late.value.retryable
    assert late.value.partial is not None
    assert late.value.partial.text == "Hel"


def test_a_long_answer_of_bedrock_is_asked_for_as_a_stream_and_read_whole(colour: Colour, server: Loopback) -> None:
    server.script(amazon(*amazon_events()))

    reply = colour.call(bedrock(server), "Hi", max_tokens=30_000)

    assert server.asked[0].path.endswith("/invoke-with-response-stream")
    assert reply.text == "Hello"


def test_bedrock_takes_a_key_too(colour: Colour, server: Loopback) -> None:
    server.script(whole())
    own = {"base_url": root(server), "aws_region": REGION}

    colour.call(load("AnthropicBedrock", api_key="bedrock-key-canary", client_args=own))

    assert server.asked[0].headers["authorization"] == "Bearer bedrock-key-canary"


@pytest.mark.parametrize(
    "client, service, own",
    [
        ("AnthropicBedrockMantle", "bedrock-mantle", {}),
        ("AnthropicAWS", "aws-external-anthropic", {"workspace_id": "w-1"}),
    ],
)
def test_amazons_other_places_are_signed_for(
    colour: Colour, server: Loopback, client: str, service: str, own: dict[str, str]
) -> None:
    keys = {"aws_access_key": ACCESS, "aws_secret_key": SECRET, "aws_session_token": SESSION}
    client_args = {"base_url": root(server), "aws_region": REGION, **keys, **own}
    server.script(whole(), sse())
    model = load(client, "claude-opus-5", client_args=client_args)

    replies = colour.call(model), colour.stream(model)[1]

    assert [reply.text for reply in replies] == ["Hello", "Hello"]
    for asked in server.asked:
        sent, right = signature(asked, service)
        assert sent == right
        assert asked.path == "/v1/messages"
        assert asked.body["model"] == "claude-opus-5"


def test_openais_models_at_amazon_are_signed_for(colour: Colour, server: Loopback) -> None:
    own = {"aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET, "aws_session_token": SESSION}
    client_args = {"base_url": server.base_url, "aws_region": REGION, **own}
    server.script(chat_answer("Hello"))

    reply = colour.call(load("BedrockOpenAI", "openai.gpt-oss-120b", model_type="openai", client_args=client_args))

    (asked,) = server.asked
    sent, right = signature(asked, "bedrock-mantle")
    assert sent == right
    assert (reply.text, asked.path) == ("Hello", "/v1/chat/completions")


def test_signatures_and_keys_stay_hidden(colour: Colour, server: Loopback, tmp_path: Any) -> None:
    def echoed(asked: Asked) -> Answer:
        return json_answer({"type": "error", "error": {"message": json.dumps(asked.headers)}}, 401)

    server.script(echoed)
    model = bedrock(server)

    with pytest.raises(AuthenticationFailed) as caught, record(tmp_path / "aws.json"):
        colour.call(model)

    seen = (
        f"{caught.value} {caught.value.body} {model.explain('Hi')} {vars(model)} {(tmp_path / 'aws.json').read_text()}"
    )
    for secret in (SECRET, SESSION, server.asked[0].headers["authorization"], "Signature="):
        assert secret not in seen


def test_a_recording_of_bedrock_is_played(colour: Colour, server: Loopback, tmp_path: Any) -> None:
    server.script(whole(), amazon(*amazon_events()))

    with record(tmp_path / "aws.json"):
        colour.call(bedrock(server))
        colour.stream(bedrock(server))
    with replay(tmp_path / "aws.json"):
        texts = [colour.call(bedrock(server)).text, colour.stream(bedrock(server))[1].text]

    assert texts == ["Hello", "Hello"]
    assert len(server.asked) == 2


def test_bedrock_without_a_login_is_told(colour: Colour, server: Loopback) -> None:
    model = load("AnthropicBedrock", client_args={"base_url": root(server), "aws_region": REGION})

    with pytest.raises(CredentialError, match="could not log in: .*credentials"):
        colour.call(model)

    assert server.asked == []


def test_bedrock_without_a_region_is_a_mistake_of_the_config() -> None:
    with pytest.raises(ConfigError, match="sdk_client: AnthropicBedrock cannot be made: .*aws_region"):
        load("AnthropicBedrock")


def test_the_package_that_signs_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, colour: Colour, server: Loopback
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("boto3", "botocore")]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(MissingPackage, match=r'pip install "modelwrap\[anthropic,bedrock\]"'):
        colour.call(bedrock(server))


def test_vertex_gets_a_token_and_its_own_path(colour: Colour, server: Loopback) -> None:
    server.script(whole(), sse())
    model = vertex(server, access_token="token-canary-123")

    replies = colour.call(model, "Hi", max_tokens=50), colour.stream(model)[1]

    place = "/v1/projects/p-1/locations/us-east5/publishers/anthropic/models/claude-opus-5"
    assert [reply.text for reply in replies] == ["Hello", "Hello"]
    assert [asked.path for asked in server.asked] == [f"{place}:rawPredict", f"{place}:streamRawPredict"]
    for asked in server.asked:
        assert asked.headers["authorization"] == "Bearer token-canary-123"
        assert asked.body["anthropic_version"]
        assert "model" not in asked.body


class Adc:
    """Stand in for the credentials that Google's library finds on a machine."""

    expired = False

    def __init__(self) -> None:
        self.token: str | None = None
        self.refreshed = 0

    def refresh(self, request: Any) -> None:
        self.refreshed += 1
        self.token = f"adc-canary-{self.refreshed}"
        self.expired = False


def test_vertex_finds_the_machines_credentials_once_and_renews_them(
    monkeypatch: pytest.MonkeyPatch, colour: Colour, server: Loopback
) -> None:
    adc = Adc()
    monkeypatch.setattr(google.auth, "default", lambda scopes: (adc, "p-1"))
    server.script(whole())
    model = vertex(server)

    async def three_times() -> None:
        for _ in range(2):
            await model.acall("Hi")
        adc.expired = True
        await model.acall("Hi")

    if colour.name == "concurrent":
        asyncio.run(three_times())
    else:
        model("Hi")
        model("Hi")
        adc.expired = True
        model("Hi")

    tokens = [asked.headers["authorization"] for asked in server.asked]
    assert tokens == ["Bearer adc-canary-1", "Bearer adc-canary-1", "Bearer adc-canary-2"]


def test_vertex_without_a_login_is_told(monkeypatch: pytest.MonkeyPatch, colour: Colour, server: Loopback) -> None:
    def default(scopes: Any) -> Any:
        raise google.auth.exceptions.DefaultCredentialsError("no credentials were found")

    monkeypatch.setattr(google.auth, "default", default)

    with pytest.raises(CredentialError, match="could not log in: .*no credentials were found"):
        colour.call(vertex(server))


def test_vertex_takes_no_key(server: Loopback) -> None:
    with pytest.raises(ConfigError, match="api_key: AnthropicVertex takes no api_key; it takes access_token"):
        load("AnthropicVertex", api_key="k-1", client_args={"region": "us-east5"})


def test_foundry_and_googles_gateway_are_reached(colour: Colour, server: Loopback) -> None:
    server.script(whole(), sse(), whole())
    foundry = load(
        "AnthropicFoundry", "claude-opus-5", api_key="k-canary-1", client_args={"base_url": root(server) + "/anthropic"}
    )
    gateway = load(
        "AnthropicGoogleCloud",
        "claude-opus-5",
        client_args={"base_url": root(server) + "/g", "project": "p", "workspace_id": "w", "skip_auth": True},
    )

    replies = colour.call(foundry), colour.stream(foundry)[1], colour.call(gateway)

    assert [reply.text for reply in replies] == ["Hello"] * 3
    assert [asked.path for asked in server.asked] == ["/anthropic/v1/messages"] * 2 + ["/g/v1/messages"]
    assert server.asked[0].headers["api-key"] == "k-canary-1"


@pytest.mark.parametrize("form", ["{}", "{}/v1", "{}/v1/messages"])
def test_anthropics_own_client_sends_what_we_do(colour: Colour, server: Loopback, form: str) -> None:
    server.script(whole(), whole(), sse())
    base_url = form.format(root(server))
    keys: dict[str, Any] = {"api_key": "sk-ant-canary", "client_args": {"base_url": base_url}}
    theirs, ours = load(None, "claude-opus-5", **keys), load(None, "claude-opus-5", **keys, transport="http")

    replies = (
        colour.call(theirs, "Hi", metadata={"user_id": "u-1"}),
        colour.call(ours, "Hi", metadata={"user_id": "u-1"}),
        colour.stream(theirs)[1],
    )

    assert [reply.text for reply in replies] == ["Hello"] * 3
    first, second, _ = server.asked
    assert (first.path, first.body) == (second.path, second.body)
    assert first.headers["anthropic-version"] == second.headers["anthropic-version"]


def test_overload_and_refusals_are_our_errors(colour: Colour, server: Loopback) -> None:
    model = bedrock(server)

    server.script(json_answer({"message": "slow"}, 529))
    with pytest.raises(Overloaded):
        colour.call(model, max_retries=0)
    server.script(json_answer({"message": "malformed input"}, 400))
    with pytest.raises(BadRequest, match="malformed input"):
        colour.call(model)


PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def seeing(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": ["Hi", {"type": "image_url", "image_url": {"url": url}}]}]


def test_platforms_that_fetch_nothing_get_the_bytes_of_pictures(colour: Colour, server: Loopback) -> None:
    picture = Answer(200, {"content-type": "image/png", "content-length": str(len(PNG))}, [PNG])
    server.script(lambda asked: picture if asked.path == "/a.png" else whole())
    model = load(
        "AnthropicVertex",
        "claude-opus-5",
        client_args={"base_url": server.base_url, "region": "us-east5", "project_id": "p-1", "access_token": "t-1234"},
        media={"private_hosts": ["127.0.0.1"]},
    )

    reply = colour.call(model, seeing(f"{root(server)}/a.png"), max_tokens=50)

    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    assert server.asked[-1].body["messages"][0]["content"][1] == {"type": "image", "source": source}
    assert "converted" in [change.kind for change in reply.meta.changes]
    assert urlsplit(server.asked[-1].path).path.endswith(":rawPredict")


def test_anthropics_own_api_fetches_pictures_by_itself(colour: Colour, server: Loopback) -> None:
    server.script(whole())
    model = load(None, "claude-opus-5", api_key="sk-ant-canary", client_args={"base_url": root(server)})

    colour.call(model, seeing("https://example.com/a.png"))

    source = {"type": "url", "url": "https://example.com/a.png"}
    assert server.asked[0].body["messages"][0]["content"][1] == {"type": "image", "source": source}
