"""Compressed bodies, however they are cut into pieces."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable

import brotli
import pytest

from modelwrap.errors import InvalidResponse, ResponseTooLarge
from modelwrap.runtime import content
from modelwrap.runtime.content import Decoder, decoder_for

zstd = pytest.importorskip("backports.zstd", reason="newer Pythons have it in their own library")


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


TEXT = b'{"text": "Rhine, Elbe, Oder"} ' * 100 + os.urandom(3000)
PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "several gzip": ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=5)),
    "zstd": ("zstd", zstd.compress),
    "several zstd": ("zstd", lambda data: zstd.compress(data[:100]) + zstd.compress(data[100:])),
    "two": ("gzip, br", lambda data: brotli.compress(gzip.compress(data), quality=5)),
    "identity beside it": ("identity, gzip", gzip.compress),
}
packed = pytest.mark.parametrize("coding, pack", PACKERS.values(), ids=PACKERS)


def unpacked(coding: str, data: bytes, step: int) -> bytes:
    decoder = decoder_for(coding)
    assert decoder is not None
    parts = [part for start in range(0, len(data), step) for part in decoder.feed(data[start : start + step])]
    decoder.finish()
    return b"".join(parts)


@packed
@pytest.mark.parametrize("step", [1, 2, 7, 1000, 10**6])
def test_is_unpacked_whatever_the_pieces(coding: str, pack: Callable[[bytes], bytes], step: int) -> None:
    assert unpacked(coding, pack(TEXT), step) == TEXT


@packed
def test_large_bodies_are_unpacked(coding: str, pack: Callable[[bytes], bytes]) -> None:
    large = os.urandom(50_000) * 60

    assert unpacked(coding, pack(large), 65536) == large


@packed
def test_a_missing_end_is_told(coding: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidResponse, match="its end is missing") as caught:
        unpacked(coding, pack(TEXT)[:-5], 1000)

    assert caught.value.retryable


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_what_is_not_packed_is_told(coding: str) -> None:
    with pytest.raises(InvalidResponse, match="cannot be decompressed") as caught:
        unpacked(coding, b"this is plain text, and long enough to be told from the other", 1000)

    assert caught.value.retryable


@packed
def test_an_empty_body_needs_no_end(coding: str, pack: Callable[[bytes], bytes]) -> None:
    assert unpacked(coding, b"", 1) == b""


def test_what_stands_behind_the_end_belongs_to_nobody() -> None:
    assert unpacked("gzip", gzip.compress(TEXT) + b"\0" * 100, 1000) == TEXT
    assert unpacked("deflate", zlib.compress(TEXT) + b"more", 1000) == TEXT


@pytest.mark.parametrize("coding", ["utf-8", "aes128gcm", "gzip, x-unknown", "", "identity", " , "])
def test_other_words_are_left_alone(coding: str) -> None:
    assert decoder_for(coding) is None


def test_nobody_packs_five_times() -> None:
    with pytest.raises(InvalidResponse, match="more than 4 times"):
        decoder_for("gzip, gzip, gzip, gzip, gzip")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_up_to_a_mebibyte_any_ratio_is_taken(coding: str) -> None:
    _, pack = PACKERS[coding]
    zeros = b"\0" * content.ANY_RATIO

    assert unpacked(coding, pack(zeros), 1000) == zeros
    with pytest.raises(ResponseTooLarge):
        unpacked(coding, pack(zeros + b"\0" * 2**20), 1000)


def test_pieces_are_bounded() -> None:
    decoder = decoder_for("gzip")
    assert isinstance(decoder, Decoder)

    sizes = [len(part) for part in decoder.feed(gzip.compress(b"\0" * content.ANY_RATIO))]

    assert max(sizes) <= 256 * 1024


def test_a_growth_between_two_codings_is_seen() -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 40 * 2**20, 9))

    with pytest.raises(ResponseTooLarge):
        unpacked("gzip, gzip", bomb, 1000)


def test_packages_that_unpack_all_at_once_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        class Decompressor:
            pass

    monkeypatch.setattr(content, "_package", lambda name: Old if name == "brotli" else None)
    content._makers.cache_clear()
    try:
        assert decoder_for("br") is None
        assert decoder_for("zstd") is None
        assert decoder_for("gzip") is not None
    finally:
        content._makers.cache_clear()
