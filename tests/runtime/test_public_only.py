"""URLs that strangers wrote lead to the open internet or nowhere."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from modelwrap.errors import BadRequest, ResponseTooLarge
from modelwrap.runtime import addresses
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from tests.colours import Colour
from tests.loopback import Answer, Loopback, json_answer

PUBLIC = ["8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
    *("::1", "::", "fe80::1%lo", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2001:0:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::1"),
]


async def fetch(runtime: Runtime, url: str, *, public_only: bool = True, largest_body: int | None = None) -> bytes:
    connection = Connection(public_only=public_only)
    timeouts = Timeouts(connect=1, total=3)
    request = HttpRequest("GET", url, connection=connection, timeouts=timeouts, largest_body=largest_body)
    response = await runtime.send(request, Deadline(timeouts.total, runtime.now))
    return await response.read()


def resolve(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[list[str]]]) -> None:
    """Let names be resolved from lists, the next list at each look-up and the last for ever."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> list[Any]:
        if host not in answers:
            return real(host, *rest, **named)
        if named.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "it is a name")
        found = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [entry for address in found for entry in real(address, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("address", PUBLIC)
def test_the_open_internet_is_public(address: str) -> None:
    assert addresses.is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_whatever_leads_back_inside_is_not(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1"])
def test_refuses_hosts_that_lead_back_inside(colour: Colour, server: Loopback, host: str) -> None:
    server.script(json_answer({}))

    with pytest.raises(BadRequest, match="no public address") as caught:
        colour.run(fetch(colour.runtime(), f"http://{host}:{server.port}/"))

    assert not caught.value.sent
    assert host.strip("[]") in str(caught.value)
    assert server.asked == []


def test_refuses_a_name_of_which_one_address_leads_back_inside(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, {"pictures.test": [["8.8.8.8", "127.0.0.1"]]})

    with pytest.raises(BadRequest, match=r"pictures.test \(127.0.0.1\) is no public address"):
        colour.run(fetch(colour.runtime(), f"http://pictures.test:{server.port}/"))

    assert server.asked == []


def test_goes_to_the_address_that_was_checked_and_to_no_other(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, {"pictures.test": [["127.0.0.1"], ["8.8.8.8"]]})
    checked = []
    monkeypatch.setattr(addresses, "is_public", lambda address: checked.append(address) or True)
    server.script(json_answer({"a": "picture"}))

    body = colour.run(fetch(colour.runtime(), f"http://pictures.test:{server.port}/"))

    assert body == b'{"a": "picture"}'
    assert checked == ["127.0.0.1"]
    assert server.asked[0].headers["host"] == f"pictures.test:{server.port}"


def test_goes_past_the_proxy_of_the_environment(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    resolve(monkeypatch, {"pictures.test": [["10.0.0.1"]]})

    with pytest.raises(BadRequest, match="no public address"):
        colour.run(fetch(colour.runtime(), "http://pictures.test/"))

    assert server.asked == []


def test_a_connection_that_may_go_anywhere_is_not_used_again_for_strangers(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({}))
    runtime = colour.runtime()

    async def both() -> None:
        await fetch(runtime, server.base_url, public_only=False)
        await fetch(runtime, server.base_url)

    with pytest.raises(BadRequest, match="no public address"):
        colour.run(both())


def test_reads_no_more_than_the_request_allows(colour: Colour, server: Loopback) -> None:
    server.script(Answer(200, {}, [b"x" * 600, b"x" * 600]))

    with pytest.raises(ResponseTooLarge, match="larger than 1000 bytes"):
        colour.run(fetch(colour.runtime(), server.base_url, public_only=False, largest_body=1000))

    assert len(colour.run(fetch(colour.runtime(), server.base_url, public_only=False, largest_body=1200))) == 1200
