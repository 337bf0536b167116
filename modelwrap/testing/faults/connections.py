"""Faults of connections, of TLS and of HTTP itself."""

from __future__ import annotations

from itertools import count
from typing import Any, Literal

from modelwrap.testing.faults.answers import END_OF_CHUNKS, chat, head, in_chunk, json_head, to_json
from modelwrap.testing.faults.answers import good as good_answer
from modelwrap.testing.faults.catalogue import Act, Asked, Steps, fault


@fault("S01")
def good(asked: Asked, *, text: str = "Rhine, Elbe, Oder 🌊.") -> Steps:
    """Answer well: chat whole or streamed, embeddings, images."""
    yield from good_answer(asked, text=text)


@fault("C54")
def echo(asked: Asked) -> Steps:
    """Answer with the last message's own text."""
    yield from good_answer(asked, text=last_text(asked.json))


def last_text(body: dict[str, Any]) -> str:
    """Find what was asked last, whichever API it was asked over."""
    said = body.get("messages") or body.get("input") or body.get("contents") or ""
    if isinstance(said, str):
        return said
    content = said[-1].get("content") or said[-1].get("parts")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


@fault("C01", place="refused")
def connection_refused() -> Steps:
    """Refuse the connection."""
    yield Act.CLOSE


@fault("C02", place="nowhere", scheme="https")
def unknown_host() -> Steps:
    """Stand at a host whose name no resolver knows."""
    yield Act.CLOSE


@fault("C03", place="full")
def black_hole() -> Steps:
    """Let the connection wait for ever in a queue that is full."""
    yield Act.CLOSE


@fault("C04", place="connection")
def close_on_accept() -> Steps:
    """Accept the connection and close it at once."""
    yield Act.CLOSE


@fault("C04")
def close_before_headers(asked: Asked) -> Steps:
    """Read the request and close without a byte."""
    yield Act.CLOSE


@fault("C05")
def reset_before_headers(asked: Asked) -> Steps:
    """Read the request and reset the connection."""
    yield Act.RESET


@fault("C06")
def reset_after_headers(asked: Asked, *, length: bool = True) -> Steps:
    """Send the headers of an answer, with or without a length, then reset the connection."""
    yield json_head(1000) if length else head(content_type="application/json", connection="close")
    # The client must have read them, for a reset throws away what waits to be read.
    yield 0.05
    yield Act.RESET


@fault("C07")
def cut_body(asked: Asked) -> Steps:
    """Announce a body by its length, and close in the middle of it."""
    body = to_json(chat())
    yield json_head(len(body)) + body[: len(body) // 2]
    yield Act.CLOSE


@fault("C08")
def cut_chunked_body(asked: Asked, *, within: Literal["chunk", "size", "trailer"] = "chunk") -> Steps:
    """Send a body in chunks, and close in the middle of one, of the size of one, or of what stands behind the last."""
    body = to_json(chat())
    half = len(body) // 2
    cut = {
        "chunk": in_chunk(body)[:half],
        "size": in_chunk(body[:half]) + b"1",
        "trailer": in_chunk(body) + b"0\r\nx-trail",
    }
    yield head(content_type="application/json", transfer_encoding="chunked") + cut[within]
    yield Act.CLOSE


@fault("C09")
def cut_unframed_body(asked: Asked) -> Steps:
    """Send half of a body whose end is the end of the connection."""
    body = to_json(chat())
    yield head(content_type="application/json", connection="close") + body[: len(body) // 2]
    yield Act.CLOSE


@fault("C10")
def silent(asked: Asked) -> Steps:
    """Read the request and say nothing."""
    yield Act.HANG


@fault("C11")
def drip_headers(asked: Asked, *, every: float = 0.3) -> Steps:
    """Send headers a byte at a time, for ever."""
    yield b"HTTP/1.1 200 OK\r\nx-slow: "
    for _ in count():
        yield every
        yield b"x"


@fault("C12")
def drip_body(asked: Asked, *, every: float = 0.3) -> Steps:
    """Send a body a byte at a time, for ever."""
    yield json_head(1_000_000) + b'{"id": "'
    for _ in count():
        yield every
        yield b"x"


@fault("C13")
def endless_informational(asked: Asked, *, every: float = 0.02) -> Steps:
    """Send informational responses (103) for ever, and never an answer."""
    for _ in count():
        yield b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"
        yield every


@fault("C46")
def many_headers(asked: Asked, *, how_many: int = 20_000) -> Steps:
    """Send very many headers."""
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(how_many):
        yield b"x-%d: 1\r\n" % number
    yield b"content-length: 2\r\n\r\n{}"


@fault("C46")
def huge_header(asked: Asked, *, size: int = 2 * 2**20) -> Steps:
    """Send one very long header."""
    body = to_json(chat())
    yield b"HTTP/1.1 200 OK\r\nx-long: "
    for _ in range(0, size, 2**16):
        yield b"x" * 2**16
    yield b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@fault("C47")
def bad_status_line(asked: Asked) -> Steps:
    """Answer with something that is not HTTP."""
    yield b"SSH-2.0-OpenSSH_9.9\r\n\r\n"
    yield Act.CLOSE


@fault("C47")
def old_http(asked: Asked) -> Steps:
    """Answer as HTTP/0.9 did: a body and nothing else."""
    yield to_json(chat())
    yield Act.CLOSE


@fault("C48")
def two_content_lengths(asked: Asked) -> Steps:
    """Name two different lengths for one body."""
    body = to_json(chat())
    yield head(content_type="application/json")[:-2]
    yield b"content-length: %d\r\ncontent-length: %d\r\n\r\n" % (len(body), len(body) - 10) + body


@fault("C49")
def length_and_chunks(asked: Asked) -> Steps:
    """Name a length for a body that comes in chunks."""
    body = to_json(chat())
    yield json_head(len(body), transfer_encoding="chunked") + in_chunk(body) + END_OF_CHUNKS


@fault("C50")
def leftover_bytes(asked: Asked, *, late: float = 0.0, garbage: bool = False) -> Steps:
    """Send a second answer, which nobody asked for, or bytes that are none, behind the first."""
    body, poison = to_json(chat()), to_json(chat("poison"))
    answer = json_head(len(body)) + body
    unasked = b"\x00garbage" if garbage else json_head(len(poison)) + poison
    if late:
        yield answer
        yield late
        yield unasked
    else:
        yield answer + unasked


@fault("C51")
def closes_idle_connection(asked: Asked, *, reset: bool = False) -> Steps:
    """Answer the first request of a connection, and close when the second has come."""
    if asked.number == 1:
        yield from good_answer(asked)
    else:
        yield Act.RESET if reset else Act.CLOSE


@fault("C51")
def closes_after_answer(asked: Asked, *, after: float = 0.03) -> Steps:
    """Answer well, and close the connection a moment later without having said so."""
    yield from good_answer(asked)
    yield after
    yield Act.CLOSE


@fault("C52", tls="trusted")
def trusted_certificate(asked: Asked) -> Steps:
    """Answer well, with a certificate that is signed by `server.authority`."""
    yield from good_answer(asked)


@fault("C06", tls="trusted")
def reset_under_tls(asked: Asked) -> Steps:
    """Send half of a body that has no length under TLS, signed by `server.authority`, then reset the connection."""
    body = to_json(chat())
    yield head(content_type="application/json", connection="close") + body[: len(body) // 2]
    yield 0.05
    yield Act.RESET


@fault("C52", tls="self-signed")
def self_signed_certificate(asked: Asked) -> Steps:
    """Show a certificate that nobody signed."""
    yield from good_answer(asked)


@fault("C52", tls="wrong-host")
def certificate_of_another_host(asked: Asked) -> Steps:
    """Show a certificate that `server.authority` signed for another host."""
    yield from good_answer(asked)


@fault("C52", tls="expired")
def expired_certificate(asked: Asked) -> Steps:
    """Show a certificate of `server.authority` that is no longer valid."""
    yield from good_answer(asked)


@fault("C52", place="connection", scheme="https")
def old_tls() -> Steps:
    """Refuse the TLS of today, as a server does that knows only 1.0 and 1.1."""
    yield Act.LISTEN
    # An alert in a record of TLS 1.0: fatal, protocol version.
    yield bytes([21, 3, 1, 0, 2, 2, 70])
    yield Act.CLOSE


@fault("C52", place="connection", scheme="https")
def silent_tls() -> Steps:
    """Accept the connection, and say nothing when TLS is to be agreed on."""
    yield Act.HANG


@fault("C52", place="connection", scheme="https")
def http_on_tls_port() -> Steps:
    """Speak plain HTTP where https is asked for."""
    yield Act.LISTEN
    yield head(400, "Bad Request", connection="close", content_length=0)
    yield Act.CLOSE
