"""Media in content parts: read for codecs, and held to what they say."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from modelwrap.errors import BadRequest
from modelwrap.types import Change
from modelwrap.wire import media_parts
from modelwrap.wire.media_parts import Media, checked, media_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
JPEG = b"\xff\xd8\xff\xe0rest"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00"
PDF = b"%PDF-1.7\n"
LARGE = PNG + b"\xfb\xff\xfe" * 40
OGG = b"OggS\x00"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{encoded(data)}"


def picture(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def sound(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, **more}}


def document(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, **more}}


@pytest.mark.parametrize(
    "given, right, told",
    [
        (picture(uri("image/png", JPEG), detail="low"), picture(uri("image/jpeg", JPEG), detail="low"), "image/png"),
        (picture(uri("image/jpg", JPEG)), picture(uri("image/jpeg", JPEG)), "given as image/jpg"),
        (picture(f"data:;base64,{encoded(PNG)}"), picture(uri("image/png", PNG)), "given as nothing"),
        (picture(uri("application/octet-stream", PDF)), picture(uri("application/pdf", PDF)), "application/pdf"),
        ({"type": "image_url", "image_url": uri("image/png", JPEG)}, None, "the bytes are image/jpeg"),
        (document(uri("text/plain", PDF), filename="a"), document(uri("application/pdf", PDF), filename="a"), "pdf"),
        (
            {"type": "video_url", "video_url": {"url": uri("image/gif", b"\x1aE\xdf\xa3")}},
            {"type": "video_url", "video_url": {"url": uri("video/webm", b"\x1aE\xdf\xa3")}},
            "video/webm",
        ),
        (sound(encoded(MP3), format="wav"), sound(encoded(MP3), format="mp3"), "given as wav, the bytes are mp3"),
        (sound(encoded(WAV)), sound(encoded(WAV), format="wav"), "given as nothing, the bytes are wav"),
    ],
)
def test_a_wrong_type_is_put_right_and_told(given: dict[str, Any], right: dict[str, Any] | None, told: str) -> None:
    changes: list[Change] = []

    part = checked(given, "messages[0].content[1]", changes)

    assert part == (right or {"type": "image_url", "image_url": uri("image/jpeg", JPEG)})
    (change,) = changes
    assert change.kind == "repaired"
    assert change.what.startswith(f"messages[0].content[1].{given['type']}")
    assert told in change.detail


@pytest.mark.parametrize(
    "written",
    [
        base64.encodebytes(LARGE).decode(),
        base64.urlsafe_b64encode(LARGE).decode(),
        encoded(LARGE).rstrip("="),
        encoded(LARGE).replace("+", "%2B").replace("=", "%3D"),
    ],
    ids=["lines", "urlsafe", "unpadded", "escaped"],
)
def test_base64_in_another_dress_is_written_plainly(written: str) -> None:
    changes: list[Change] = []

    part = checked(picture(f"data:image/png;base64,{written}"), "here", changes)

    assert part == picture(uri("image/png", LARGE))
    assert changes == [Change("repaired", "here.image_url.url", "written as plain base64")]


def test_a_data_url_without_base64_gets_some() -> None:
    changes: list[Change] = []

    part = checked(document("data:text/plain;charset=utf-8,gr%C3%BC%C3%9Fe"), "here", changes)

    assert part == document(f"data:text/plain;charset=utf-8;base64,{encoded('grüße'.encode())}")
    assert [change.kind for change in changes] == ["repaired"]


@pytest.mark.parametrize(
    "part",
    [
        picture(uri("image/png", PNG)),
        picture(uri("image/svg+xml", b"<svg/>")),
        picture("https://example.com/cat.png"),
        picture(7),  # what a caller may write by mistake
        document(uri("text/csv", b"a,b")),
        {"type": "file", "file": {"file_id": "file-1"}},
        sound(encoded(MP3), format="mpeg"),
        sound(encoded(OGG), format="opus"),
        sound(encoded(b"\x00\x01\x02\x03"), format="pcm16"),
        sound(encoded(WAV), format="pcm16"),
        sound(f"data:;base64,{encoded(WAV)}", format="wav"),
        {"type": "video_url", "video_url": {"url": uri("video/quicktime", b"\x00\x00\x00\x18ftypisom")}},
        {"type": "text", "text": "Hello"},
        {"no": "type"},
    ],
)
def test_what_is_right_is_the_same_object(part: dict[str, Any]) -> None:
    changes: list[Change] = []

    assert checked(part, "here", changes) is part
    assert changes == []


@pytest.mark.parametrize(
    "part, message",
    [
        (picture("data:image/png;base64,no base64!"), r"messages\[2\]\.content\[1\]\.image_url\.url: is no base64"),
        (picture("data:image/png;base64,"), "empty, there is nothing to send"),
        (picture("data:image/png;base64"), "without a comma"),
        (picture("data:image/png;base64,aGVsbG8=aGVsbG8="), "is no base64"),
        (picture("data:image/png;base64,größe"), "is no base64"),
        (sound("%%%", format="wav"), r"messages\[2\]\.content\[1\]\.input_audio\.data: is no base64"),
        (sound(encoded(PNG), format="wav"), "the data is image/png, no audio"),
    ],
)
def test_what_cannot_be_decoded_is_named(part: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        checked(part, "messages[2].content[1]", [])

    assert not caught.value.sent


def test_too_much_base64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_parts, "LARGEST", 2**20)

    for size in (2**20 + 1, 2**22):
        with pytest.raises(BadRequest, match="more than 1 MiB in one part"):
            checked(picture(uri("image/png", PNG + bytes(size))), "here", [])


@pytest.mark.parametrize(
    "part, media",
    [
        (picture(uri("image/png", PNG)), Media("image", "image/png", encoded(PNG))),
        (picture("https://example.com/cat"), Media("image", url="https://example.com/cat")),
        ({"type": "image_url", "image_url": "gs://a/b.png"}, Media("image", url="gs://a/b.png")),
        (picture(uri("application/pdf", PDF)), Media("file", "application/pdf", encoded(PDF))),
        (picture("data:image/svg+xml,<svg/>"), Media("image", "image/svg+xml", encoded(b"<svg/>"))),
        (picture(f"data:;base64,{encoded(b'?')}"), Media("image", "", encoded(b"?"))),
        (sound(encoded(MP3), format="mp3"), Media("audio", "audio/mpeg", encoded(MP3))),
        (sound(encoded(b"??"), format="pcm16"), Media("audio", "", encoded(b"??"))),
        (sound(uri("audio/wav", WAV)), Media("audio", "audio/wav", encoded(WAV))),
        (document(uri("text/csv", b"a"), filename="a.csv"), Media("file", "text/csv", encoded(b"a"), name="a.csv")),
        (document(encoded(PDF)), Media("file", "application/pdf", encoded(PDF))),
        (document("https://example.com/a.pdf"), Media("file", url="https://example.com/a.pdf")),
        ({"type": "file", "file": {"file_id": "file-1"}}, Media("file", file_id="file-1")),
        ({"type": "document_url", "document_url": "https://a/b"}, Media("file", url="https://a/b")),
        ({"type": "video_url", "video_url": {"url": "https://a/b"}}, Media("video", url="https://a/b")),
        ({"type": "text", "text": "Hello"}, None),
        ({"no": "type"}, None),
    ],
)
def test_codecs_read_media_in_one_form(part: dict[str, Any], media: Media | None) -> None:
    assert media_of(part, "here") == media


@pytest.mark.parametrize(
    "part, message",
    [
        ({"type": "image_url"}, "here.image_url.url: is missing"),
        (picture(7), "here.image_url.url: must be a string"),
        ({"type": "file", "file": {}}, "here.file.file_data: is missing"),
        (document("no base64!"), "here.file.file_data: is no base64"),
    ],
)
def test_media_that_are_not_there_are_named(part: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        media_of(part, "here")


@pytest.mark.parametrize("size", range(1, 9))
def test_the_size_is_told_without_decoding(size: int) -> None:
    media = Media("image", "image/png", encoded(bytes(size)))

    assert media.size == size == len(media.data)


def test_media_go_back_into_a_data_url() -> None:
    assert Media("image", "image/png", encoded(PNG)).data_url == uri("image/png", PNG)


def test_a_text_file_gives_its_text() -> None:
    text = Media("file", "text/plain", encoded("\ufeffgrüße".encode()), name="a.txt")
    other = Media("file", "text/plain", encoded(b"\xff\xfe\x00"), name="b.txt")

    assert text.text("here") == "grüße"
    with pytest.raises(BadRequest, match=r"here: b\.txt is text/plain, but no text in UTF-8"):
        other.text("here")
