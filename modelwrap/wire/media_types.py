"""What kind of picture, sound or file some bytes are, told by the bytes themselves."""

from __future__ import annotations

import mimetypes

_PREFIXES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
)
_FORM_TYPES = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"}
_BRANDS = {
    **dict.fromkeys((b"M4A ", b"M4B ", b"F4A "), "audio/mp4"),
    **dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1"), "image/heic"),
    b"avif": "image/avif",
    b"qt  ": "video/quicktime",
}

# Names of one thing, and of containers whose first bytes do not say whether they hold pictures or only sound.
_ALIKE = (
    frozenset({"audio/mpeg", "audio/mp3", "audio/mpga", "audio/x-mp3"}),
    frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}),
    frozenset({"audio/flac", "audio/x-flac"}),
    frozenset({"audio/aac", "audio/aacp", "audio/x-aac"}),
    frozenset({"audio/aiff", "audio/x-aiff"}),
    frozenset({"audio/ogg", "audio/opus", "audio/vorbis", "video/ogg", "application/ogg"}),
    frozenset({"video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska"}),
    frozenset(
        {
            *("video/mp4", "audio/mp4", "audio/m4a", "audio/x-m4a", "video/quicktime", "video/x-m4v"),
            *("video/3gpp", "audio/3gpp", "video/mov"),
        }
    ),
    frozenset({"image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence"}),
    frozenset({"image/bmp", "image/x-ms-bmp", "image/x-bmp"}),
)

_FORMATS = {
    **dict.fromkeys(("mp3", "mpeg", "mpga"), "audio/mpeg"),
    **dict.fromkeys(("ogg", "oga", "opus"), "audio/ogg"),
    **dict.fromkeys(("m4a", "mp4"), "audio/mp4"),
    **dict.fromkeys(("aiff", "aif"), "audio/aiff"),
    "wav": "audio/wav",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "webm": "audio/webm",
}
_FORMAT_OF = {"audio/mpeg": "mp3", "audio/mp4": "m4a"}


def file_name(kind: str) -> str:
    """Make up a name for a file of a media type.

    >>> file_name("application/pdf")
    'file.pdf'
    """
    # A table of its own knows the same on every machine.
    return f"file{mimetypes.MimeTypes().guess_extension(kind) or ''}"


def sniff(data: bytes) -> str | None:
    """Tell the media type by the first bytes; None where they say nothing."""
    for prefix, kind in _PREFIXES:
        if data.startswith(prefix):
            return kind
    if data[:4] in (b"RIFF", b"FORM"):
        return _FORM_TYPES.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "video/mp4")
    # Two and three letters may begin any text; the bytes after them decide.
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return "image/bmp"
    if data[:3] == b"ID3" and data[3:4] in (b"\x02", b"\x03", b"\x04"):
        return "audio/mpeg"
    return _mpeg_audio(data)


def same_type(one: str, other: str) -> bool:
    """Tell whether two media types may name the same bytes."""
    return one == other or any(one in alike and other in alike for alike in _ALIKE)


def type_of_format(name: str) -> str | None:
    """Give the media type behind the format of an `input_audio` part; None for samples without a container."""
    return _FORMATS.get(name.lower())


def format_of_type(kind: str) -> str:
    """Give the format by which an `input_audio` part names a media type."""
    return _FORMAT_OF.get(kind, kind.partition("/")[2])


def is_text(data: bytes) -> bool:
    try:
        return "\x00" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _mpeg_audio(data: bytes) -> str | None:
    """Read the header of an MPEG audio frame: eleven set bits, then version, layer and rates that exist."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    layer = data[1] & 0x06
    if layer == 0:
        return "audio/aac" if data[1] & 0xF0 == 0xF0 else None
    bit_rate, sample_rate = data[2] & 0xF0, data[2] & 0x0C
    return None if bit_rate in (0x00, 0xF0) or sample_rate == 0x0C else "audio/mpeg"
