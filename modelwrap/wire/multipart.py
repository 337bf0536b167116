"""Forms of several parts (RFC 7578), for the few operations that take files and no JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

# https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
_ESCAPED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True)
class Part:
    """Be one field of a form, or one file."""

    name: str
    content: bytes
    filename: str | None = None
    type: str | None = None

    @property
    def head(self) -> bytes:
        disposition = f'form-data; name="{self.name.translate(_ESCAPED)}"'
        if self.filename is not None:
            disposition += f'; filename="{self.filename.translate(_ESCAPED)}"'
        lines = [f"Content-Disposition: {disposition}"]
        lines += [f"Content-Type: {self.type}"] if self.type else []
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape") + b"\r\n"


def fields(values: Mapping[str, Any]) -> Iterator[Part]:
    """Write values as fields: an object's as `name[key]`, a list's as `name[]`; what is None is left out.

    >>> [(part.name, part.content) for part in fields({"n": 2, "svg": {"model": "a"}, "tags": [True, None]})]
    [('n', b'2'), ('svg[model]', b'a'), ('tags[]', b'true')]
    """
    for name, value in values.items():
        yield from _fields(name, value)


def _fields(name: str, value: Any) -> Iterator[Part]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _fields(f"{name}[{key}]", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _fields(f"{name}[]", item)
    elif value is not None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield Part(name, text.encode("utf-8", "surrogateescape"))


def to_form(parts: Iterable[Part]) -> tuple[str, bytes]:
    """Give a form's content type and its bytes; the same parts always make the same bytes."""
    parts = list(parts)
    written = [part.head + part.content for part in parts]
    digest = sha256()
    for part in written:
        digest.update(sha256(part).digest())
    boundary = digest.hexdigest()[:32]
    start = f"--{boundary}\r\n".encode()
    content = b"".join(piece for part in written for piece in (start, part, b"\r\n"))
    return f"multipart/form-data; boundary={boundary}", content + f"--{boundary}--\r\n".encode()
