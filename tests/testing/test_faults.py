"""The server of faults does what it is told, and tells the truth about what it saw."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.testing import FaultServer, forbid_requests
from modelwrap.testing.faults.catalogue import catalogue

FILES = Path("/proc/self/fd")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def connection_to(url: str, **options: Any) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=3, **options)


def ask(connection: http.client.HTTPConnection, path: str = "/v1/chat/completions", **body: Any) -> tuple[int, bytes]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", "X-Who": "me"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_it_answers_well_and_remembers_what_it_was_asked(server: FaultServer) -> None:
    connection = connection_to(server.url("good"))

    status, body = ask(connection, model="m", messages=[])
    ask(connection, model="m", stream=True)
    seen = server.seen("good")
    connection.close()

    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"].startswith("Rhine")
    assert (seen.requests, seen.connections, seen.open, seen.waits[0] >= 0) == (2, 1, 1, True)
    assert (seen.asked[0].method, seen.asked[0].path) == ("POST", "/v1/chat/completions")
    assert seen.asked[0].headers["x-who"] == "me"
    assert seen.asked[0].json == {"model": "m", "messages": []}
    assert [one.number for one in seen.asked] == [1, 2]
    assert seen.received > len(seen.asked[0].body)
    assert seen.sent > len(body)


def test_it_sees_a_client_hang_up(server: FaultServer) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(server.url("silent")).port or 0)) as client:
        client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        while not server.seen("silent").requests:
            time.sleep(0.001)
        kept = server.all_closed("silent", within=0.02)
        unfinished = server.seen("silent").finished
        before = time.monotonic()
    closed = server.all_closed("silent")
    seen = server.seen("silent")

    assert (kept, closed, unfinished) == (False, True, 0)
    assert (seen.closed_by_client, seen.closed_by_server) == (1, 0)
    assert seen.last_close is not None
    assert 0 <= seen.last_close - before < 1


def test_a_fault_happens_as_often_as_it_is_told_to(server: FaultServer) -> None:
    connection = connection_to(server.url("status", code=503, times=2))

    statuses = [ask(connection)[0] for _ in range(4)]
    connection.close()

    assert statuses == [503, 503, 200, 200]


def test_an_answer_in_slices_is_the_same_answer(server: FaultServer) -> None:
    whole, sliced = connection_to(server.url("good")), connection_to(server.url("good", sliced=3))

    answers = [ask(connection, model="m", stream=stream) for connection in (whole, sliced) for stream in (False, True)]
    for connection in (whole, sliced):
        connection.close()

    assert answers[:2] == answers[2:]


def test_every_set_of_options_has_its_own_url(server: FaultServer) -> None:
    urls = [server.url("status", code=503), server.url("status", code=500), server.url("status", code=503)]
    for url in urls:
        connection = connection_to(url)
        ask(connection)
        connection.close()

    assert urls[0] == urls[2] != urls[1]
    assert server.seen("status").requests == 3


def test_chunked_requests_are_read(server: FaultServer) -> None:
    connection = connection_to(server.url("echo"))
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()

    connection.request("POST", "/", iter([body[:7], body[7:]]), encode_chunked=True)
    said = json.loads(connection.getresponse().read())
    connection.close()

    assert said["choices"][0]["message"]["content"] == "Hi"


def test_other_operations_are_answered_as_well(server: FaultServer) -> None:
    connection = connection_to(server.url("good"))

    _, embeddings = ask(connection, "/v1/embeddings", input=["a", "b"])
    _, images = ask(connection, "/v1/images/generations", prompt="a")
    connection.close()

    assert [item["index"] for item in json.loads(embeddings)["data"]] == [0, 1]
    assert json.loads(images)["data"][0]["url"]


def test_embeddings_are_wrong_in_every_way_that_can_be_asked_for(server: FaultServer) -> None:
    said = {}
    for wrong in ("fewer", "mixed", "order", "nan"):
        connection = connection_to(server.url("wrong_embeddings", wrong=wrong))
        said[wrong] = json.loads(ask(connection, "/v1/embeddings", input=["a", "b"])[1])["data"]
        connection.close()

    assert len(said["fewer"]) == 1
    assert [len(item["embedding"]) for item in said["mixed"]] == [2, 1]
    assert [item["index"] for item in said["order"]] == [1, 0]
    assert said["nan"][1]["embedding"][0] != said["nan"][1]["embedding"][0]


def test_an_image_is_as_large_as_it_is_asked_to_be(server: FaultServer) -> None:
    connection = connection_to(server.url("large_image", size=3 * 2**20))

    _, body = ask(connection, "/v1/images/generations")
    connection.close()

    assert len(base64.b64decode(json.loads(body)["data"][0]["b64_json"])) == 3 * 2**20


def test_unknown_names_are_told_with_what_was_meant(server: FaultServer) -> None:
    with pytest.raises(ConfigError, match="did you mean 'drip_body'"):
        server.url("drip_bdy")
    with pytest.raises(ConfigError, match="no option 'cod'; did you mean 'code'"):
        server.url("status", cod=3)
    with pytest.raises(ConfigError, match="there are none"):
        server.url("silent", code=3)
    with pytest.raises(ConfigError, match="no fault 'zzz'"):
        server.seen("zzz")


def test_a_mistake_in_a_script_is_told_to_whoever_asks(server: FaultServer) -> None:
    connection = connection_to(server.url("compression_bomb", coding="rot13"))

    ask(connection)
    connection.close()

    with pytest.raises(ConfigError, match="no bomb of 'rot13'"):
        server.seen("compression_bomb")


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("retry_after", {"value": 1}, "'retry_after': value: Input should be a valid string, not 1"),
        ("status", {"code": "x"}, "'status': code: Input should be a valid integer, not 'x'"),
        ("status", {"headers": ["x"]}, "headers: Input should be a valid"),
        ("good", {"times": -1}, "times: Input should be greater than or equal to 0, not -1"),
        ("good", {"times": "2"}, "times: Input should be a valid integer, not '2'"),
        ("good", {"sliced": 0}, "sliced: Input should be greater than 0, not 0"),
        ("good", {"sliced": -1}, "sliced: Input should be greater than 0, not -1"),
    ],
)
def test_a_value_that_is_none_for_its_option_is_refused(
    server: FaultServer, name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        server.url(name, **options)


def test_a_mistake_in_a_script_is_told_at_the_end_of_the_block() -> None:
    def ask_for_a_bomb(server: FaultServer) -> None:
        connection = connection_to(server.url("compression_bomb", coding="rot13"))
        ask(connection)
        connection.close()

    with pytest.raises(ConfigError, match="no bomb of 'rot13'"), FaultServer() as server:
        ask_for_a_bomb(server)
    with pytest.raises(AssertionError) as caught, FaultServer() as server:
        ask_for_a_bomb(server)
        raise AssertionError("the answer was another")

    (note,) = caught.value.__notes__
    assert note.startswith("a script of this FaultServer failed: there is no bomb of 'rot13'")


def test_packages_that_are_not_there_are_named(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    monkeypatch.setitem(sys.modules, "brotli", None)

    with pytest.raises(MissingPackage, match="pip install trustme"):
        server.url("expired_certificate")
    connection = connection_to(server.url("compression_bomb", coding="br"))
    ask(connection)
    connection.close()

    with pytest.raises(MissingPackage, match="pip install brotli"):
        server.seen("compression_bomb")


def test_certificates_are_trusted_by_those_who_trust_the_authority(server: FaultServer) -> None:
    trusting = ssl.create_default_context(cafile=server.authority)
    good = connection_to(server.url("trusted_certificate"), context=trusting)
    status, _ = ask(good)
    good.close()

    refused = {}
    for name in ("self_signed_certificate", "certificate_of_another_host", "expired_certificate"):
        with pytest.raises(ssl.SSLError) as caught:
            ask(connection_to(server.url(name), context=trusting))
        refused[name] = caught.value.verify_message  # type: ignore[attr-defined]
    with pytest.raises(ssl.SSLError):
        ask(connection_to(server.url("old_tls"), context=trusting))

    assert status == 200
    assert "local issuer" in refused["self_signed_certificate"]
    assert "not valid for" in refused["certificate_of_another_host"]
    assert "expired" in refused["expired_certificate"]
    assert server.seen("expired_certificate").requests == 0
    assert server.seen("expired_certificate").connections == 1
    assert server.all_closed("expired_certificate")


def test_ports_refuse_or_swallow_connections(server: FaultServer) -> None:
    refusing, full = (urlsplit(server.url(name)).port or 0 for name in ("connection_refused", "black_hole"))

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", refusing), timeout=1)
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", full), timeout=0.1)


def test_nothing_is_left_when_it_is_closed() -> None:
    files, threads = len(list(FILES.iterdir())), threading.active_count()
    server = FaultServer()
    names = ("good", "silent", "black_hole", "trusted_certificate", "connection_refused", "drip_body")
    clients = [socket.create_connection(("127.0.0.1", urlsplit(server.url(name)).port or 0)) for name in names[:2]]
    clients[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
    for name in names:
        server.url(name)

    server.close()
    server.close()
    for client in clients:
        client.close()

    assert (len(list(FILES.iterdir())), threading.active_count()) == (files, threads)
    with pytest.raises(ConfigError, match="closed"):
        server.url("good")


def test_requests_to_it_are_never_forbidden(server: FaultServer) -> None:
    import modelwrap

    config = {"config_name": "m", "model_type": "openai", "client_args": {"base_url": server.url("good")}}

    with forbid_requests():
        text = modelwrap.load(config)["m"]("Hi").text

    assert text == "Rhine, Elbe, Oder 🌊."


def test_every_fault_says_what_it_does_and_where_it_stands() -> None:
    for fault in FaultServer().faults():
        assert fault.summary.endswith("."), fault.name
        assert fault.rows, fault.name
    assert len(catalogue()) > 70
