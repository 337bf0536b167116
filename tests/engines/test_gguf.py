from __future__ import annotations

import struct
from pathlib import Path

import pytest

from modelwrap.errors import ConfigError
from modelwrap.local.gguf import read_text


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def file_of(path: Path, *entries: bytes) -> Path:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))
    return path


ENTRIES = [
    entry("general.alignment", 4, struct.pack("<I", 32)),
    entry("some.flag", 7, b"\x01"),
    entry("some.floats", 9, struct.pack("<IQ2f", 6, 2, 1.0, 2.0)),
    entry("some.words", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc")),
    entry("other.text", 8, text("not this")),
    entry("tokenizer.chat_template", 8, text("{{ messages }} ü")),
]


def test_finds_a_text_among_all_kinds(tmp_path: Path) -> None:
    path = file_of(tmp_path / "model.gguf", *ENTRIES)

    assert read_text(path, "tokenizer.chat_template") == "{{ messages }} ü"
    assert read_text(path, "nowhere") is None


@pytest.mark.parametrize("cut", [5, 24, 40, 120, -3])
def test_a_cut_file_is_named(tmp_path: Path, cut: int) -> None:
    path = file_of(tmp_path / "model.gguf", *ENTRIES)
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(ConfigError, match="model.gguf is a GGUF file that is cut or broken"):
        read_text(path, "tokenizer.chat_template")


def test_what_is_no_such_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"PK\x03\x04")

    with pytest.raises(ConfigError, match="is no GGUF file"):
        read_text(path, "any")


@pytest.mark.parametrize(
    "broken",
    [
        entry("x", 99, b""),
        text("x") + struct.pack("<IQ", 8, 2**60),
        *(entry("y", 8, struct.pack("<Q", length)) for length in (2**47, 2**63, 2**64 - 1)),
        entry("y", 9, struct.pack("<IQ", 12, 2**62)),
        entry("y", 9, struct.pack("<IQ", 9, 1) * 5000),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, broken: bytes) -> None:
    path = file_of(tmp_path / "model.gguf", broken)

    with pytest.raises(ConfigError, match="cut or broken"):
        read_text(path, "x")
