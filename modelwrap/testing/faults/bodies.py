"""Faults of bodies that come with status 200."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from modelwrap.errors import ConfigError, MissingPackage
from modelwrap.testing.faults.answers import chat, head, in_chunk, json_head, refusal, to_json, whole, written_head
from modelwrap.testing.faults.catalogue import Act, Asked, Steps, fault

_MIB = 2**20
_PAGE = "<!DOCTYPE html><html><head><title>{}</title></head><body><h1>{}</h1>{}</body></html>"


def page(title: str, filler: int = 0) -> bytes:
    return _PAGE.format(title, title, "<p>Please wait.</p>" * filler).encode()


@fault("C15")
def html_page(asked: Asked) -> Steps:
    """Answer with a web page, as a login or a captive portal does."""
    body = page("Sign in")
    yield json_head(len(body), content_type="text/html") + body


@fault("C16")
def json_as_text(asked: Asked) -> Steps:
    """Call the JSON of a good answer plain text."""
    yield from whole(chat(), content_type="text/plain; charset=utf-8")


@fault("C17")
def empty_body(asked: Asked) -> Steps:
    """Answer 200 with an empty body."""
    yield json_head(0)


@fault("C17")
def no_content(asked: Asked) -> Steps:
    """Answer 204."""
    yield head(204, "No Content")


@fault("C18", "C22", "C23", "C24")
def body(asked: Asked, *, text: str = "null") -> Steps:
    """Answer with any text where the JSON of a reply is due."""
    yield from whole(text.encode())


@fault("C19")
def error_as_success(asked: Asked, *, message: str = "slow down", code: str = "rate_limit_exceeded") -> Steps:
    """Answer 200 with an error in the body."""
    yield from whole(refusal(message, code))


@fault("C20")
def no_choices(asked: Asked, *, choices: Any = "missing", filtered: bool = False) -> Steps:
    """Answer without choices: `choices` may be "missing", None or []."""
    body = {**chat(), "choices": choices}
    if choices == "missing":
        del body["choices"]
    if filtered:
        body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": True}}}]
    yield from whole(body)


@fault("C21")
def wrong_types(asked: Asked, *, content: Any = 7, index: Any = "first", choices: Any = None) -> Steps:
    """Answer with values of the wrong types in the choices."""
    body = chat()
    body["choices"][0]["message"]["content"] = content
    body["choices"][0]["index"] = index
    yield from whole(body if choices is None else {**body, "choices": choices})


@fault("C22")
def broken_json(asked: Asked) -> Steps:
    """Answer with JSON that is garbled in the middle."""
    yield from whole(to_json(chat()).replace(b'"choices":', b'"choices" "x"', 1))


@fault("C23")
def nan_in_json(asked: Asked, *, number: str = "NaN") -> Steps:
    """Answer with NaN, Infinity or 1e400 where JSON has numbers."""
    body = {**chat(), "score": "NUMBER"}
    yield from whole(to_json(body).replace(b'"NUMBER"', number.encode()))


@fault("C24")
def repeated_keys(asked: Asked) -> Steps:
    """Answer with a key that comes twice in one object; the last is the right one."""
    yield from whole(b'{"id": "first", ' + to_json(chat())[1:])


@fault("C25")
def deep_json(asked: Asked, *, depth: int = 100_000) -> Steps:
    """Answer with JSON that is nested very deeply."""
    yield from whole(b'{"id": ' + b"[" * depth + b"]" * depth + b"}")


@fault("C26")
def long_integer(asked: Asked, *, digits: int = 100_000) -> Steps:
    """Answer with an integer of very many digits."""
    yield from whole(b'{"id": "x", "created": ' + b"9" * digits + b', "choices": []}')


@fault("C27")
def bad_utf8(asked: Asked) -> Steps:
    """Answer with bytes that are no UTF-8."""
    yield from whole(to_json(chat("EMOJI")).replace(b"EMOJI", b"\xff\xfe\xf0\x9f"))


@fault("C27")
def lone_surrogate(asked: Asked) -> Steps:
    """Answer with half of a surrogate pair."""
    yield from whole(to_json(chat("EMOJI")).replace(b"EMOJI", rb"half \ud83d"))


@fault("C28")
def byte_order_mark(asked: Asked) -> Steps:
    """Put a byte order mark before a good answer."""
    yield from whole(b"\xef\xbb\xbf" + to_json(chat()))


@fault("C42")
def compression_bomb(asked: Asked, *, coding: str = "gzip", size: int = 400 * _MIB) -> Steps:
    """Answer with a small body that is huge when decompressed."""
    # `coding` is gzip, deflate, br, zstd, or "gzip, gzip".
    yield head(content_type="application/json", content_encoding=coding, connection="close")
    bomb = _BOMBS.get(coding)
    if bomb is None:
        raise ConfigError(f"there is no bomb of {coding!r}; there are {', '.join(map(repr, _BOMBS))}")
    yield from bomb(size)
    yield Act.CLOSE


@fault("C43")
def cut_gzip(asked: Asked) -> Steps:
    """Send half of a compressed body as if it were the whole."""
    packed = gzip.compress(to_json(chat("Rhine, " * 50)))
    packed = packed[: len(packed) // 2]
    yield json_head(len(packed), content_encoding="gzip") + packed


@fault("C43")
def false_gzip(asked: Asked) -> Steps:
    """Call a plain body compressed."""
    yield from whole(chat(), content_encoding="gzip")


@fault("C44")
def unknown_coding(asked: Asked, *, plain: bool = True) -> Steps:
    """Name a content coding that nobody knows; the body is plain JSON or not."""
    yield from whole(chat() if plain else bytes(range(256)) * 4, content_encoding="x-rot13")


@fault("C45")
def huge_body(asked: Asked, *, size: int = 300 * _MIB, chunked: bool = False) -> Steps:
    """Send a very large body."""
    frame: dict[str, str | int] = {"transfer_encoding": "chunked"} if chunked else {"content_length": size}
    yield written_head(200, "OK", {"content_type": "application/json", **frame})
    piece = b" " * _MIB
    for _ in range(0, size, _MIB):
        yield in_chunk(piece) if chunked else piece
    yield Act.CLOSE


@fault("C61")
def large_image(asked: Asked, *, size: int = 50 * _MIB) -> Steps:
    """Answer with an image of so many bytes, written as base64."""
    start, end = b'{"created": 1700000000, "data": [{"b64_json": "', b'"}]}'
    length = size * 4 // 3 // 4 * 4
    yield json_head(len(start) + length + len(end)) + start
    piece = b"AAAA" * (_MIB // 4)
    for sent in range(0, length, _MIB):
        yield piece[: length - sent]
    yield end


@fault("C62")
def wrong_embeddings(asked: Asked, *, wrong: str = "fewer") -> Steps:
    """Answer with embeddings that are fewer, of mixed dimensions, in another order, or hold NaN."""
    wanted = asked.json.get("input")
    many = len(wanted) if isinstance(wanted, list) else 1
    data = [{"object": "embedding", "index": number, "embedding": [float(number), 0.5]} for number in range(many)]
    if wrong == "fewer":
        data.pop()
    elif wrong == "mixed":
        data[-1]["embedding"] = [0.5]
    elif wrong == "order":
        data.reverse()
    elif wrong == "nan":
        data[-1]["embedding"] = [math.nan, 0.5]
    else:
        raise ConfigError(f"embeddings can be wrong as fewer, mixed, order or nan, not {wrong!r}")
    yield from whole({"object": "list", "data": data, "model": "fault-model", "usage": {"total_tokens": many}})


# Bombs: a mebibyte of spaces at a time, which JSON allows before anything else.


def _deflated(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A block that ends with a full flush knows nothing of those before it, so one serves for all.
    block = packer.compress(b" " * _MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(0, size, _MIB):
        yield block


def _gzip(size: int) -> Iterator[bytes]:
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    yield from _deflated(size)


def _deflate(size: int) -> Iterator[bytes]:
    yield b"\x78\x9c"
    yield from _deflated(size)


def _gzip_twice(size: int) -> Iterator[bytes]:
    yield gzip.compress(b"".join(_gzip(size)))


def _zstd(size: int) -> Iterator[bytes]:
    # A frame without a checksum and with a window of a mebibyte, then blocks of 128 KiB that repeat one byte.
    yield b"\x28\xb5\x2f\xfd\x00\x50"
    block = ((2**17 << 3) | (1 << 1)).to_bytes(3, "little") + b" "
    for _ in range(0, size, 2**17):
        yield block


def _brotli(size: int) -> Iterator[bytes]:
    try:
        import brotli
    except ImportError:
        raise MissingPackage("a bomb of br needs a package of its own: pip install brotli") from None
    packer = brotli.Compressor(quality=1)
    for _ in range(0, size, _MIB):
        yield packer.process(b" " * _MIB) + packer.flush()


_BOMBS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "gzip, gzip": _gzip_twice,
    "zstd": _zstd,
    "br": _brotli,
}
