"""Values that must never be printed, and the scrubbing of text in which somebody else printed them."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

HIDDEN = "***"

# Shorter values are too common in ordinary text to be searched for and replaced.
_SHORTEST_SCRUBBED = 6

# What keys begin with tells nothing.
_SHORTEST_START = 3

_SENSITIVE_NAME = re.compile(
    r"authorization|(access|admin|api|(?<![a-z])app|auth|functions|master|private|subscription)[-_]?key|token|secret"
    r"|passw|cookie|credential|signature|^(x-)?(goog-)?key$|^sig$|auth$",
    re.IGNORECASE,
)

# In a request's JSON fewer names are a credential's: "eos_token" and "signature" stand there for something else.
_SENSITIVE_IN_JSON = re.compile(
    r"authorization|api[-_]?key|(^|auth|authorization|access|bearer|hf|id|refresh|session)[-_]?token$"
    r"|secret|passw|credential|cookie",
    re.IGNORECASE,
)

_ESCAPED_BYTE = re.compile("%[0-9A-F]{2}")

_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

# How web pages write text: by Python and Jinja, Go, the rules of OWASP, and Handlebars.
_IN_PAGES = tuple(
    str.maketrans(_MARKUP | special)
    for special in (
        {'"': "&quot;", "'": "&#x27;"},
        {'"': "&#34;", "'": "&#39;"},
        {'"': "&#34;", "'": "&#39;", "+": "&#43;"},
        {'"': "&quot;", "'": "&#x27;", "/": "&#x2F;"},
        {'"': "&quot;", "'": "&#x27;", "=": "&#x3D;", "`": "&#x60;"},
    )
)


class Secret:
    """Hold a string that shows itself only to `reveal()`."""

    __slots__ = ("__value",)

    def __init__(self, value: str, /) -> None:
        self.__value = value

    def reveal(self) -> str:
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__value == other.__value

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: load the config in the process that needs it")


def is_sensitive(name: str) -> bool:
    """Tell whether a header or query parameter of this name carries a credential."""
    return bool(_SENSITIVE_NAME.search(name))


def credentials_in(value: Any) -> Iterator[Secret]:
    """Find what stands in a request's JSON under the name of a credential, as tools that a provider calls want it.

    >>> [secret.reveal() for secret in credentials_in({"tools": [{"type": "mcp", "authorization": "abc"}]})]
    ['abc']
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if _is_credential(name, item):
                yield Secret(item)
            else:
                yield from credentials_in(item)
                yield from _in_url(name, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from credentials_in(item)


def _in_url(name: Any, value: Any) -> Iterator[Secret]:
    """Find the password and the credentials in the query of a URL, as of a server whose tools a provider calls."""
    if not (isinstance(name, str) and name.endswith("url") and isinstance(value, str) and "://" in value[:8]):
        return
    try:
        url = urlsplit(value)
    except ValueError:
        return
    found = [text for key, text in parse_qsl(url.query) if is_sensitive(key)]
    yield from (Secret(text) for text in (url.password, *found) if text)


def without_credentials(value: Any) -> Any:
    """Copy a request's JSON with what stands under the name of a credential hidden."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if _is_credential(name, item) else without_credentials(item) for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_credentials(item) for item in value]
    return value


def _is_credential(name: Any, value: Any) -> bool:
    return isinstance(value, str) and isinstance(name, str) and bool(_SENSITIVE_IN_JSON.search(name))


def reveal(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


class Scrubber:
    """Replace every form of some secrets (raw, URL-encoded, base64, JSON-escaped) in text that leaves the library."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            forms.update(_forms(secret.reveal()))
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return self._without_start_at_cut(text) if text.endswith("…") else text

    def _without_start_at_cut(self, text: str) -> str:
        """Replace the first part of a secret that a cut (`…`) parted from its rest."""
        kept = text[:-1]
        for form in self._forms:
            start = form[: _SHORTEST_START + 1]
            position = kept.find(start, max(0, len(kept) - len(form) + 1))
            while position >= 0:
                if form.startswith(kept[position:]):
                    return f"{kept[:position]}{HIDDEN}…"
                position = kept.find(start, position + 1)
        return text

    def holds_secret(self, text: str) -> bool:
        return any(form in text for form in self._forms)

    def value(self, value: Any) -> Any:
        """Scrub every string inside a JSON-like value."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self(key) if isinstance(key, str) else key: self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value


# A token of a login has thousands of letters, and each failed attempt looks for the last ones.
@functools.lru_cache(maxsize=64)
def _forms(value: str) -> frozenset[str]:
    # A key may stand in "Bearer KEY"; the scheme alone is no secret.
    value = value.strip()
    scheme, _, rest = value.partition(" ")
    candidates = {value, rest.strip()} if rest and scheme.isalpha() else {value}
    if scheme.lower() == "basic":
        candidates |= _login_in(rest.strip())
    forms: set[str] = set()
    for candidate in candidates:
        if len(candidate) < _SHORTEST_SCRUBBED:
            continue
        encoded = candidate.encode("utf-8", "surrogatepass")
        as_json = json.dumps(candidate)[1:-1]
        in_urls = {quote(encoded), quote(encoded, safe=""), quote_plus(encoded)}
        forms |= {
            candidate,
            *in_urls,
            *(_ESCAPED_BYTE.sub(lambda byte: byte[0].lower(), url) for url in in_urls),
            base64.b64encode(encoded).decode().rstrip("="),
            base64.urlsafe_b64encode(encoded).decode().rstrip("="),
            as_json,
            as_json.replace("/", "\\/"),
            json.dumps(candidate, ensure_ascii=False)[1:-1],
            candidate.replace("/", "\\/"),
            repr(candidate)[1:-1],
            *(candidate.translate(page) for page in _IN_PAGES),
        }
    # A gateway quotes what stood as JSON in the answer that it got.
    return frozenset({*forms, *(json.dumps(form, ensure_ascii=False)[1:-1] for form in forms)})


def _login_in(encoded: str) -> set[str]:
    """Read the secret half of a Basic login; the user's name is the secret where there is no password."""
    try:
        login = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return set()
    name, _, password = login.partition(":")
    return {login, password or name}
