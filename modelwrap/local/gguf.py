"""What a GGUF file says of itself, read from its first bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from modelwrap.errors import ConfigError

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_LONGEST_TEXT = 16 * 2**20
_MOST_KEYS = 100_000
_LONGEST_VALUE = 2**40


def read_text(path: Path, key: str) -> str | None:
    """Read one text of a file's metadata; None where the file does not have it."""
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ConfigError(f"{path} is no GGUF file")
        try:
            return _find(file, key)
        except (struct.error, UnicodeDecodeError, EOFError, RecursionError):
            raise ConfigError(f"{path} is a GGUF file that is cut or broken") from None


def _find(file: BinaryIO, key: str) -> str | None:
    _, _, count = _numbers(file, "<IQQ")
    for _ in range(min(count, _MOST_KEYS)):
        name = _text(file)
        (kind,) = _numbers(file, "<I")
        if name == key and kind == _STRING:
            return _text(file)
        _skip(file, kind)
    return None


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        (length,) = _numbers(file, "<Q")
        _pass_over(file, length)
    elif kind == _ARRAY:
        inner, length = _numbers(file, "<IQ")
        if inner in _NUMBERS:
            _pass_over(file, length * struct.calcsize(_NUMBERS[inner]))
        else:
            for _ in range(length):
                _skip(file, inner)
    elif kind in _NUMBERS:
        _pass_over(file, struct.calcsize(_NUMBERS[kind]))
    else:
        raise EOFError


def _pass_over(file: BinaryIO, length: int) -> None:
    if length > _LONGEST_VALUE:
        raise EOFError
    file.seek(length, 1)


def _text(file: BinaryIO) -> str:
    (length,) = _numbers(file, "<Q")
    if length > _LONGEST_TEXT:
        raise EOFError
    data = file.read(length)
    if len(data) < length:
        raise EOFError
    return data.decode()


def _numbers(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
