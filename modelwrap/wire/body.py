"""Bytes from the network into JSON, in one place: whatever comes ends in a value or in a known error."""

from __future__ import annotations

from pydantic_core import from_json

from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON

_BOM = b"\xef\xbb\xbf"

# What another try would bring again.
_SURE_TO_COME_AGAIN = ("recursion", "out of range")

# What a body says that was cut on its way; what is garbled otherwise is likely to be what the server has to say.
_CUT = "EOF"


def loads(data: bytes) -> JSON:
    """Read JSON strictly where it protects, and like Python's own `json` where servers are sloppy.

    Bad UTF-8, lone surrogates, endless digits and deep nesting raise `InvalidResponse`; a byte order mark, NaN,
    Infinity and repeated keys are taken.
    """
    data = data.removeprefix(_BOM)
    try:
        return from_json(data)
    except ValueError as error:
        raise _invalid(data, str(error)) from None


def text_of(data: bytes) -> str:
    """Show a body, whatever it is."""
    return data.removeprefix(_BOM).decode("utf-8", "replace")


def looks_like_html(text: str) -> bool:
    return text.lstrip()[:1] == "<"


def kind_of(value: JSON) -> str:
    """Name what JSON is, where something else was to come."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _invalid(data: bytes, reason: str) -> InvalidResponse:
    text = text_of(data)
    if not text.strip():
        return InvalidResponse("the answer is empty", body=text, retryable=True)
    if looks_like_html(text):
        return InvalidResponse("the answer is a web page, not JSON: is the base URL right?", body=text)
    again = not any(word in reason for word in _SURE_TO_COME_AGAIN)
    error = InvalidResponse(f"the answer is not JSON: {reason}", body=text, retryable=again)
    error.most_retries = None if _CUT in reason else 1
    return error
