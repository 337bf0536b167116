"""Pictures, sound and files as content parts."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from pydantic import BaseModel

from modelwrap import media
from modelwrap.errors import BadRequest
from modelwrap.wire import media_parts

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


def content_part(item: Any, where: str) -> Any:
    """Read a part that is what it says."""
    changes: list[Any] = []
    part = media.content_part(item, where, changes)
    assert changes == []
    return part


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{encoded(data)}"


def image(data: bytes, kind: str = "image/png", **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri(kind, data), **more}}


def test_text_is_a_text_part() -> None:
    assert content_part("Hello", "here") == {"type": "text", "text": "Hello"}


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_bytes_of_a_picture_become_a_data_url(wrap: Any) -> None:
    assert content_part(wrap(PNG), "here") == image(PNG)


def test_bytes_of_sound_become_bare_base64() -> None:
    assert content_part(WAV, "here") == {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "wav"}}
    assert content_part(MP3, "here")["input_audio"]["format"] == "mp3"
    assert content_part(b"fLaC\x00", "here")["input_audio"]["format"] == "flac"


def test_other_bytes_become_a_file_with_a_name() -> None:
    assert content_part(PDF, "here") == {
        "type": "file",
        "file": {"filename": "file.pdf", "file_data": uri("application/pdf", PDF)},
    }


def test_a_path_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(PNG)

    assert content_part(path, "here") == image(PNG)


@pytest.mark.parametrize(
    "name, data, kind",
    [
        ("report.pdf", PDF, "application/pdf"),
        ("notes.txt", b"Hello", "text/plain"),
        ("table.csv", b"a,b\n1,2\n", "text/csv"),
        ("code.unheardof", "größer".encode(), "text/plain"),
        ("BMW.txt", b"BMW builds cars", "text/plain"),
    ],
)
def test_files_keep_their_name(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)

    assert content_part(path, "here") == {"type": "file", "file": {"filename": name, "file_data": uri(kind, data)}}


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"type": "image_url", "image_url": {"url": PNG}}, image(PNG)),
        ({"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}, image(PNG, detail="high")),
        ({"type": "image_url", "image_url": PNG}, image(PNG)),
        ({"type": "image_url", "image_url": PNG, "cache": 1}, {**image(PNG), "cache": 1}),
        (
            {"type": "input_audio", "input_audio": {"data": WAV}},
            {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "wav"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "pcm16"}},
            {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "pcm16"}},
        ),
        (
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": uri("application/pdf", PDF)}},
        ),
        (
            {"type": "file", "file": {"file_data": PNG}},
            {"type": "file", "file": {"filename": "file.png", "file_data": uri("image/png", PNG)}},
        ),
    ],
)
def test_media_inside_a_part_is_read(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert content_part(given, "here") == expected


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "image_url", "image_url": "https://example.com/cat.png"},
        {"type": "image_url", "image_url": {"url": uri("image/png", PNG), "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "/looks/like/a/path.png"}},
        {"type": "input_audio", "input_audio": encoded(WAV)},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "document_url", "document_url": uri("application/pdf", PDF)},
        {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}},
        {"no_type": True},
        {"type": ["odd"]},
    ],
)
def test_parts_without_local_media_are_the_same_object(part: dict[str, Any]) -> None:
    assert content_part(part, "here") is part


def test_a_part_may_be_a_pydantic_object() -> None:
    class Part(BaseModel):
        type: str = "text"
        text: str | None = None
        image_url: dict[str, Any] | None = None

    assert content_part(Part(text="Hello"), "here") == {"type": "text", "text": "Hello"}
    assert content_part(Part(type="image_url", image_url={"url": PNG}), "here") == image(PNG)


@pytest.mark.parametrize("form", ["file://{}", "file://localhost{}", "FILE://{}"])
def test_a_file_url_is_read_with_its_escapes(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a cat.png"
    path.write_bytes(PNG)
    url = form.format(str(path).replace(" ", "%20"))

    assert content_part({"type": "image_url", "image_url": {"url": url}}, "here") == image(PNG)
    assert content_part({"type": "image_url", "image_url": url}, "here") == image(PNG)


def test_a_pil_image_goes_out_as_png() -> None:
    picture = PIL.Image.new("RGB", (2, 1), "red")

    part = content_part(picture, "here")

    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert PIL.Image.open(io.BytesIO(base64.b64decode(data))).getpixel((1, 0)) == (255, 0, 0)


def test_a_pil_image_that_was_a_jpeg_stays_one() -> None:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), "red").save(buffer, "JPEG")

    part = content_part(PIL.Image.open(io.BytesIO(buffer.getvalue())), "here")

    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    "mode, kept", [("PA", "RGBA"), ("RGBa", "RGBA"), ("La", "LA"), ("I", "I;16"), ("I;16B", "I;16")]
)
def test_a_pil_image_keeps_its_transparency_and_its_depth(mode: str, kept: str) -> None:
    part = content_part(PIL.Image.new(mode, (2, 2)), "here")

    sent = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    assert PIL.Image.open(io.BytesIO(sent)).mode == kept


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I", "CMYK", "YCbCr", "F", "HSV"])
def test_a_pil_image_of_any_mode_is_encoded(mode: str) -> None:
    part = content_part(PIL.Image.new(mode, (2, 2)), "here")

    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    assert struct.unpack(">II", data[16:24]) == (2, 2)


def test_a_pil_image_that_cannot_be_encoded_is_named() -> None:
    buffer = io.BytesIO()
    PIL.Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    cut = io.BytesIO(buffer.getvalue()[:500])

    with pytest.raises(BadRequest, match=r"here: the image cannot be encoded"):
        content_part(PIL.Image.open(cut), "here")


def test_pil_is_not_imported_for_it() -> None:
    code = "import sys, modelwrap.media; modelwrap.media.content_part({}, '', []); assert 'PIL' not in sys.modules"

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "given, message",
    [
        (b"Hello", "here: bytes of no known kind"),
        (b"", "here: empty"),
        (
            {"type": "image_url", "image_url": {"url": PDF}},
            r"here\.image_url\.url: the data is application/pdf, no image",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PNG}},
            r"here\.input_audio\.data: the data is image/png, no audio",
        ),
        ({"type": "image_url", "image_url": {"url": "file:cat.png"}}, "file:///absolute/path"),
        ({"type": "image_url", "image_url": {"url": "file://far.example.com/cat.png"}}, "file:///absolute/path"),
        (Path("no/such/cat.png"), "here: no/such/cat.png: no such file"),
        (Path("/"), "here: /: not a file"),
        (7, "here: int is no content part"),
        (io.BytesIO(PNG), "here: BytesIO is no content part.*of an open file give what it reads"),
    ],
)
def test_what_cannot_be_sent_is_named(given: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        content_part(given, "here")

    assert not caught.value.sent


@pytest.mark.parametrize(
    "name, data",
    [("cat.png", b"no picture"), ("a.unheardof", b"\x80\x81"), ("a.unheardof", b"a\x00b"), ("a.pdf", b"x")],
)
def test_a_name_makes_no_picture_of_what_is_none(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)

    with pytest.raises(BadRequest, match="holds nothing of a known kind"):
        content_part(path, "here")


def test_what_is_too_large_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_parts, "LARGEST", 2**20)
    path = tmp_path / "large.png"
    path.write_bytes(PNG)
    with path.open("r+b") as file:
        file.truncate(2**20 + 1)

    with pytest.raises(BadRequest, match="more than 1 MiB in one part"):
        content_part(path, "here")
    with pytest.raises(BadRequest, match="more than 1 MiB in one part"):
        content_part(PNG + bytes(2**20), "here")
