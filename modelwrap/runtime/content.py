"""Bodies that come compressed, made plain without letting a few bytes grow beyond measure."""

from __future__ import annotations

import functools
import importlib
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from modelwrap.errors import InvalidResponse, ResponseTooLarge

MOST_CODINGS = 4
LARGEST_RATIO = 200
ANY_RATIO = 2**20
"""Up to so many bytes nobody asks how small they were."""

_PIECE = 256 * 1024


class Decoder:
    """Undo the codings of one body."""

    def __init__(self, codings: Iterable[_Coding]) -> None:
        self._codings = list(codings)
        self._given = [0] * len(self._codings)
        self._received = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what these bytes stand for, in pieces of bounded size."""
        self._received += len(data)
        pieces: Iterable[bytes] = (data,)
        for number, coding in enumerate(self._codings):
            pieces = self._undone(number, coding, pieces)
        yield from pieces

    def finish(self) -> None:
        """Raise where the end is missing."""
        if self._received and not all(coding.ended for coding in self._codings):
            raise InvalidResponse("the answer cannot be decompressed: its end is missing", retryable=True)

    def _undone(self, number: int, coding: _Coding, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            for plain in coding.feed(piece):
                self._given[number] += len(plain)
                if self._given[number] > max(ANY_RATIO, LARGEST_RATIO * self._received):
                    raise ResponseTooLarge(f"the answer unpacks to more than {LARGEST_RATIO} times its size")
                yield plain


def decoder_for(content_encoding: str) -> Decoder | None:
    """Give what undoes the codings of a body; None where it is plain, or where somebody else's word stands."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    makers = [_makers().get(name) for name in names if name not in ("", "identity")]
    if len(makers) > MOST_CODINGS:
        raise InvalidResponse(f"the answer is compressed more than {MOST_CODINGS} times over")
    known = [maker for maker in makers if maker is not None]
    # Servers put other words there ("utf-8") before bodies that are plain.
    if not known or len(known) < len(makers):
        return None
    return Decoder(maker() for maker in reversed(known))


class _Coding(Protocol):
    ended: bool
    """Whether what came so far is whole."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Zlib:
    """Undo gzip, whose files may be several behind each other, or one of the two things called deflate."""

    def __init__(self, *, gzip: bool) -> None:
        self.ended = False
        self._gzip = gzip
        self._inner: Any = zlib.decompressobj(zlib.MAX_WBITS | 16) if gzip else None
        self._begin = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inner is None:
            self._begin += data
            if len(self._begin) < 2:
                return
            data, self._inner = self._begin, zlib.decompressobj(_deflate_window(self._begin))
        try:
            yield from self._inflated(data)
        except zlib.error as error:
            raise _undecodable(error) from error

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._inner.eof:
                if not (self._gzip and data.startswith(b"\x1f")):
                    return  # what stands behind the end belongs to nobody
                self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            plain = self._inner.decompress(data, _PIECE)
            if plain:
                yield plain
            self.ended = self._inner.eof
            data = self._inner.unused_data if self.ended else self._inner.unconsumed_tail
            if not data and (self.ended or len(plain) < _PIECE):
                return


def _deflate_window(begin: bytes) -> int:
    """Tell zlib's own format, which the standard means, from the bare one that many send."""
    says_zlib = begin[0] & 0x0F == 8 and int.from_bytes(begin[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if says_zlib else -zlib.MAX_WBITS


class _Brotli:
    def __init__(self, package: Any) -> None:
        self.ended = False
        self._error: type[Exception] = package.error
        self._inner = package.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            plain = self._inner.process(data, output_buffer_limit=_PIECE)
            while plain:
                yield plain
                plain = self._inner.process(b"", output_buffer_limit=_PIECE)
        except self._error as error:
            raise _undecodable(error) from error
        self.ended = self._inner.is_finished()


class _Zstd:
    def __init__(self, package: Any) -> None:
        self.ended = False
        self._package = package
        self._inner = package.ZstdDecompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data or not (self._inner.needs_input or self._inner.eof):
                if self._inner.eof:
                    self._inner = self._package.ZstdDecompressor()
                plain = self._inner.decompress(data, _PIECE)
                data = self._inner.unused_data if self._inner.eof else b""
                if plain:
                    yield plain
        except self._package.ZstdError as error:
            raise _undecodable(error) from error
        self.ended = self._inner.eof


@functools.cache
def _makers() -> dict[str, Callable[[], _Coding]]:
    """Know each coding that what is installed can undo piece by piece."""
    makers: dict[str, Callable[[], _Coding]] = {
        "gzip": lambda: _Zlib(gzip=True),
        "x-gzip": lambda: _Zlib(gzip=True),
        "deflate": lambda: _Zlib(gzip=False),
    }
    brotli = _package("brotli")
    # Older ones unpack all at once.
    if hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data"):
        makers["br"] = lambda: _Brotli(brotli)
    zstd = _package("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    if zstd is not None:
        makers["zstd"] = lambda: _Zstd(zstd)
    return makers


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _undecodable(error: Exception) -> InvalidResponse:
    return InvalidResponse(f"the answer cannot be decompressed: {error}", retryable=True)
