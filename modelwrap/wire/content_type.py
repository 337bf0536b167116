"""What the head of an answer says of its body, and what is plain text in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelwrap.errors import InvalidResponse

_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)

# In which texts come. Python knows more, among them some that are no charsets and some that take hours.
_KNOWN = re.compile(
    r"utf-?(8|16|32)(-?[lb]e)?|us-ascii|ascii|iso[-_]?8859[-_]\d{1,2}|latin[-_]?1|(windows-|cp)125\d"
    r"|gb(k|2312|18030)|big5|shift[-_]?jis|euc-?(jp|kr)|koi8-[ru]"
)

# What frameworks write where a program says nothing.
_UNSAID = ("", "text/html", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class ContentType:
    name: str
    charset: str

    @property
    def is_plain(self) -> bool:
        """Tell whether a body calls itself plain text."""
        return self.name.startswith("text/") and self.name not in ("text/html", "text/event-stream")

    @property
    def is_unsaid(self) -> bool:
        """Tell whether a body calls itself what many programs say of whatever they send."""
        return self.name in _UNSAID

    @property
    def encoding(self) -> str:
        """Give what Python reads the charset with; `InvalidResponse` where nobody knows it."""
        if not _KNOWN.fullmatch(self.charset):
            raise InvalidResponse(f"nobody knows the charset {self.charset!r:.40} of the answer")
        # A byte order mark is no part of the text.
        return "utf-8-sig" if self.charset in ("utf-8", "utf8", "us-ascii", "ascii") else self.charset

    def text(self, body: bytes) -> str:
        """Read a text; `InvalidResponse` where it is not in the charset that was named."""
        try:
            return body.decode(self.encoding)
        except UnicodeError as error:
            raise self.unreadable(error) from None

    def unreadable(self, error: UnicodeError) -> InvalidResponse:
        why = f"{error.reason} at byte {error.start}" if isinstance(error, UnicodeDecodeError) else str(error)
        return InvalidResponse(f"the text is not {self.charset.upper()}: {why}")


def content_type_of(headers: Mapping[str, str]) -> ContentType:
    """Read the header `content-type`; names of headers are in lower case."""
    name, _, parameters = headers.get("content-type", "").partition(";")
    found = _CHARSET.search(parameters)
    return ContentType(name.strip().lower(), found[1].lower() if found else "utf-8")
