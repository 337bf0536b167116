"""Media that messages name by URL, where a model needs their bytes."""

from __future__ import annotations

import base64
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap import runtime as runtimes
from modelwrap.errors import BadRequest, ConfigError, ConnectionFailed, RealRequestForbidden, TimedOut
from modelwrap.models.call import Call
from modelwrap.models.remote_media import Fetching, MediaArgs, with_media_fetched
from modelwrap.runtime.base import Deadline
from modelwrap.testing import record, replay
from modelwrap.types import Change
from modelwrap.wire.http import Connection, Timeouts
from tests.colours import Colour, FakeRuntime
from tests.loopback import Answer, Loopback

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PDF = b"%PDF-1.7\n"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "


def uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def asking(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": ["Hi", *parts]}]


def call(total: float = 10) -> Call:
    return Call(None, {}, Timeouts(total=total), Deadline(total), 0)


def answer(data: bytes, kind: str = "image/png", status: int = 200, **headers: str) -> Answer:
    return Answer(status, {"content-type": kind, "content-length": str(len(data)), **headers}, [data])


class Fetched:
    """Be the answer to a request that a FakeRuntime takes."""

    status = 200
    headers = {"content-type": "image/png"}  # noqa: RUF012 - nobody changes it

    async def read(self) -> bytes:
        return PNG

    async def aclose(self) -> None:
        pass


@pytest.fixture
def own(server: Loopback) -> Fetching:
    """Fetch from the server of the test, which stands in one's own network."""
    return Fetching(MediaArgs(private_hosts=[f"127.0.0.1:{server.port}"]))


@pytest.fixture
def site(server: Loopback) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://example.com/a.png", "over https only"),
        ("http://169.254.169.254/latest/meta-data", "over https only"),
        ("http://127.0.0.1:8000/a.png", "over https only"),
        ("https://127.0.0.1/a.png", "127.0.0.1 is no public host"),
        ("https://127.1/a.png", "127.1 is no public host"),
        ("https://0x7f.1/a.png", "0x7f.1 is no public host"),
        ("https://0X7F000001/a.png", "no public host"),
        ("https://2130706433/a.png", "2130706433 is no public host"),
        ("https://0177.0.0.1/a.png", "no public host"),
        ("https://134744072/a.png", "no public host"),
        ("https://127.0.0.1./a.png", "no public host"),
        ("https://[::1]/a.png", "::1 is no public host"),
        ("https://[::]/a.png", "no public host"),
        ("https://[::ffff:127.0.0.1]/a.png", "::ffff:127.0.0.1 is no public host"),
        ("https://[64:ff9b::7f00:1]/a.png", "no public host"),
        ("https://[fe80::1%25eth0]/a.png", "no public host"),
        ("https://[fd00::1]/a.png", "no public host"),
        ("https://10.0.0.7/a.png", "no public host"),
        ("https://100.64.0.1/a.png", "no public host"),
        ("https://172.16.0.1/a.png", "no public host"),
        ("https://192.168.1.1/a.png", "no public host"),
        ("https://169.254.169.254/latest/meta-data", "no public host"),
        ("https://224.0.0.1/a.png", "no public host"),
        ("https://0.0.0.0/a.png", "no public host"),
        ("https://255.255.255.255/a.png", "no public host"),
        ("https://localhost/a.png", "localhost is no public host"),
        ("https://LOCALHOST./a.png", "localhost is no public host"),
        ("https://a.localhost/a.png", "no public host"),
        ("https://router/a.png", "no public host"),
        ("https://nas.local/a.png", "no public host"),
        ("https://metadata.google.internal/a.png", "no public host"),
        ("https://user@example.com/a.png", "a user name or a password"),
        ("https://user:pass-canary@example.com/a.png", "a user name or a password"),
        ("https://example.com:443@127.0.0.1/a.png", "a user name or a password"),
        ("https://example.com:99999/a.png", "no URL"),
        ("https://[::1/a.png", "no URL"),
        ("https:///a.png", "names no host"),
        ("file:///etc/passwd", "takes the bytes of media"),
        ("ftp://example.com/a.png", "takes the bytes of media"),
        ("gs://bucket/a.png", "takes the bytes of media"),
        ("/etc/passwd", "takes the bytes of media"),
        ("//example.com/a.png", "takes the bytes of media"),
        ("example.com/a.png", "takes the bytes of media"),
    ],
)
def test_what_leads_elsewhere_than_to_the_internet_is_not_asked(url: str, reason: str) -> None:
    runtime = FakeRuntime()

    with pytest.raises(BadRequest) as caught:
        Colour("blocking").run(with_media_fetched(asking(picture(url)), call(), runtime, Fetching()))

    assert str(caught.value).startswith("messages[0].content[1]: ")
    assert reason in str(caught.value)
    assert "pass-canary" not in str(caught.value)
    assert not caught.value.sent
    assert runtime.sent == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:169.254.169.254", "fd00::1"])
def test_a_name_that_leads_home_is_not_connected_to(
    colour: Colour, monkeypatch: pytest.MonkeyPatch, server: Loopback, address: str
) -> None:
    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = f"https://rebound.example.com:{server.port}/a.png"

    with pytest.raises(BadRequest, match=r"messages\[0\].content\[1\]: .*is no public address"):
        colour.run(with_media_fetched(asking(picture(url)), call(), colour.runtime(), Fetching()))

    assert server.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(colour: Colour, server: Loopback, own: Fetching, site: str, status: int) -> None:
    server.script(answer(b"", status=status, location="http://169.254.169.254/latest/meta-data"))

    with pytest.raises(BadRequest, match=rf"it redirects \(HTTP {status}\); give the URL at which it is"):
        colour.run(with_media_fetched(asking(picture(f"{site}/a.png")), call(), colour.runtime(), own))

    assert [asked.path for asked in server.asked] == ["/a.png"]


def test_a_public_host_is_asked_within_limits() -> None:
    runtime = FakeRuntime(Fetched())
    connection = Connection(verify="ca.pem")
    fetching = Fetching(MediaArgs(largest=1000, timeout=2), connection)
    messages = asking(picture("https://example.com:8443/a.png?size=1#part"))

    Colour("blocking").run(with_media_fetched(messages, call(), runtime, fetching))

    (request,) = runtime.sent
    assert (request.method, request.url) == ("GET", "https://example.com:8443/a.png?size=1")
    assert request.connection == Connection(verify="ca.pem", public_only=True)
    assert request.largest_body == 1000
    assert request.timeouts == Timeouts(2, 2, 2, 2)
    assert set(request.headers) == {"accept", "accept-encoding", "user-agent"}


def test_bytes_take_the_place_of_urls(colour: Colour, server: Loopback, own: Fetching, site: str) -> None:
    data = {"/a.png": PNG, "/b%20c.pdf": PDF, "/d.wav": WAV, "/e.txt": b"Hello", "/f.json": b"{}"}
    kinds = {"/e.txt": "text/markdown; charset=utf-8", "/f.json": "application/json"}
    server.script(lambda asked: answer(data[asked.path], kinds.get(asked.path, "application/octet-stream")))
    messages = [
        {"role": "system", "content": "Be kind."},
        *asking(
            picture(f"{site}/a.png", detail="low"),
            {"type": "image_url", "image_url": f"{site}/a.png"},
            {"type": "file", "file": {"file_data": f"{site}/b%20c.pdf"}},
            {"type": "file", "file": {"file_data": f"{site}/e.txt", "filename": "named.txt"}},
            {"type": "document_url", "document_url": f"{site}/f.json"},
            {"type": "input_audio", "input_audio": {"data": f"{site}/d.wav"}},
            {"type": "audio_url", "audio_url": {"url": f"{site}/d.wav"}},
            picture(uri("image/png", PNG)),
        ),
        {"role": "tool", "tool_call_id": "1", "content": [picture(f"{site}/a.png")]},
    ]
    asked = call()

    seen = colour.run(with_media_fetched(messages, asked, colour.runtime(), own))

    assert seen[0] is messages[0]
    assert seen[1]["content"] == [
        "Hi",
        picture(uri("image/png", PNG), detail="low"),
        {"type": "image_url", "image_url": uri("image/png", PNG)},
        {"type": "file", "file": {"filename": "b c.pdf", "file_data": uri("application/pdf", PDF)}},
        {"type": "file", "file": {"filename": "named.txt", "file_data": uri("text/markdown", b"Hello")}},
        {"type": "document_url", "document_url": uri("application/json", b"{}")},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": uri("audio/wav", WAV)}},
        picture(uri("image/png", PNG)),
    ]
    assert seen[2]["content"] == [picture(uri("image/png", PNG))]
    assert messages[1]["content"][1] == picture(f"{site}/a.png", detail="low")
    assert sorted(request.path for request in server.asked) == sorted(data)
    told = f"fetched {site}/a.png, sent as its bytes"
    assert asked.lasting[0] == Change("converted", "messages[1].content[1]", told)
    assert len(asked.lasting) == 8


def test_a_wire_keeps_the_urls_that_it_takes(own: Fetching) -> None:
    runtime = FakeRuntime()
    messages = asking(picture("https://example.com/a.png"), picture("gs://bucket/b.png"))

    seen = Colour("blocking").run(
        with_media_fetched(messages, call(), runtime, Fetching(takes_url=lambda media: media.kind == "image"))
    )

    assert seen is messages
    assert runtime.sent == []


def test_several_are_fetched_at_once_in_a_loop(server: Loopback, own: Fetching, site: str) -> None:
    server.script(lambda asked: Answer(200, {}, [0.1, PNG]))
    colour = Colour("concurrent")
    messages = asking(*(picture(f"{site}/{number}.png") for number in range(20)))
    started = time.monotonic()

    colour.run(with_media_fetched(messages, call(), colour.runtime(), own))

    assert time.monotonic() - started < 1.5
    assert len(server.asked) == 20


def test_another_attempt_fetches_nothing_again(colour: Colour, server: Loopback, own: Fetching, site: str) -> None:
    server.script(answer(PNG))
    asked, messages = call(), asking(picture(f"{site}/a.png"))

    async def twice() -> Any:
        runtime = colour.runtime()
        first = await with_media_fetched(messages, asked, runtime, own)
        return first, await with_media_fetched(messages, asked, runtime, own)

    first, second = colour.run(twice())

    assert first == second
    assert len(server.asked) == 1
    assert len(asked.lasting) == 1


@pytest.mark.parametrize(
    "given, reason",
    [
        (answer(PNG, status=404), "cannot be fetched: the answer is HTTP 404"),
        (answer(PNG, status=500), "the answer is HTTP 500"),
        (answer(b"<html>", "text/html"), "holds is text/html, no image"),
        (answer(PDF, "image/png"), "holds is application/pdf, no image"),
        (answer(b"\x00\x01", ""), "holds is something unknown, no image"),
        (answer(b""), "holds is empty"),
        (answer(PNG * 100), "cannot be fetched: the answer is larger than 1000 bytes"),
        (Answer(200, {}, [PNG] * 100), "the answer is larger than 1000 bytes"),
        (Answer(200, {}, [0.1, PNG, 0.1, PNG, 0.1, PNG, 0.1]), "it took longer than 0.2 s"),
        (Answer(raw=True, pieces=[b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nabc"]), "the connection was cut"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(colour: Colour, server: Loopback, site: str, given: Answer, reason: str) -> None:
    server.script(given)
    timeout = 0.2 if "longer than 0.2 s" in reason else 5.0
    fetching = Fetching(MediaArgs(private_hosts=["127.0.0.1"], largest=1000, timeout=timeout))
    url = f"{site}/a.png?X-Amz-Signature=sig-canary"

    with pytest.raises(BadRequest) as caught:
        colour.run(with_media_fetched(asking(picture(url)), call(), colour.runtime(), fetching))

    assert str(caught.value).startswith("messages[0].content[1]: ")
    assert reason in str(caught.value)
    assert "sig-canary" not in str(caught.value)


def test_the_deadline_of_the_call_goes_before(colour: Colour, server: Loopback, own: Fetching, site: str) -> None:
    server.script(Answer(200, {}, [0.2, PNG]))

    with pytest.raises(TimedOut, match="longer than 0.1 s in all"):
        colour.run(with_media_fetched(asking(picture(f"{site}/a.png")), call(total=0.1), colour.runtime(), own))


def test_a_name_that_does_not_exist_is_told(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(BadRequest, match="cannot be fetched: the host's name cannot be resolved") as caught:
        colour.run(
            with_media_fetched(asking(picture("https://nowhere.example/a")), call(), colour.runtime(), Fetching())
        )

    assert isinstance(caught.value.__cause__, ConnectionFailed)


def test_fetching_can_be_switched_off() -> None:
    runtime = FakeRuntime()
    messages = asking(picture("https://example.com/a.png"))

    with pytest.raises(BadRequest, match=r"its config lets nothing be fetched: https://example\.com/a\.png"):
        Colour("blocking").run(with_media_fetched(messages, call(), runtime, Fetching(MediaArgs(fetch=False))))

    assert runtime.sent == []


def local_model(**media: Any) -> modelwrap.Model:
    entry = {"config_name": "here", "model_type": "llama_cpp", "model": "no/such.gguf", "media": media}
    return modelwrap.load(entry)["here"]


def test_a_model_in_this_process_gets_bytes(server: Loopback, site: str) -> None:
    server.script(answer(PNG))

    explained = local_model(private_hosts=["127.0.0.1"]).explain(asking(picture(f"{site}/a.png")))

    assert explained.body["messages"][0]["content"][1] == picture(uri("image/png", PNG))
    assert explained.changes[0].kind == "converted"


def test_what_is_fetched_is_recorded_and_played(server: Loopback, site: str, tmp_path: Path) -> None:
    server.script(answer(PNG))
    model, messages = local_model(private_hosts=["127.0.0.1"]), asking(picture(f"{site}/a.png"))

    with record(tmp_path / "fetched.json"):
        first = model.explain(messages)
    with replay(tmp_path / "fetched.json"), runtimes.forbidden("this is a replay"):
        second = model.explain(messages)

    assert first.body == second.body
    assert len(server.asked) == 1


def test_nothing_is_fetched_where_requests_are_forbidden() -> None:
    with runtimes.forbidden("a test"), pytest.raises(RealRequestForbidden):
        local_model().explain(asking(picture("https://example.com/a.png")))


def test_a_mistake_in_the_config_of_fetching_is_named() -> None:
    with pytest.raises(ConfigError, match=r"media\.largst: unknown key; did you mean \"largest\""):
        local_model(largst=5)


def test_an_error_that_many_meet_is_one_error(server: Loopback, own: Fetching, site: str) -> None:
    server.script(answer(b"", status=404))
    colour = Colour("concurrent")
    messages = asking(*(picture(f"{site}/{number}") for number in range(5)))

    with pytest.raises(BadRequest, match="HTTP 404"):
        colour.run(with_media_fetched(messages, call(), colour.runtime(), own))
