"""What kind of media some bytes are."""

from __future__ import annotations

import pytest

from modelwrap.wire.media_types import sniff


@pytest.mark.parametrize(
    "data, kind",
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"BM\x3a\x00\x00\x00\x00\x00\x00\x00\x36", "image/bmp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x18ftypavif", "image/avif"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00", "audio/mpeg"),
        (b"\xff\xfb\x90\x64rest", "audio/mpeg"),
        (b"\xff\xf3\x64\xc4rest", "audio/mpeg"),
        (b"\xff\xf1\x50\x80rest", "audio/aac"),
        (b"fLaC\x00", "audio/flac"),
        (b"OggS\x00", "audio/ogg"),
        (b"FORM\x00\x00\x00\x00AIFF", "audio/aiff"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        (b"%PDF-1.7", "application/pdf"),
        (b"BMW builds cars", None),
        (b"ID3 tags are text", None),
        (b"RIFF\x00\x00\x00\x00AVI ", None),
        (b"\xff\xfe\x00\x00", None),
        (b"\xff\xff\xff\xff", None),
        (b"\xff\xe2\x00\x00", None),
        (b"", None),
        (b"Hello", None),
    ],
)
def test_the_first_bytes_tell_the_kind(data: bytes, kind: str | None) -> None:
    assert sniff(data) == kind
