"""Base URLs in the forms that people paste, and which hosts are one's own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from modelwrap.secrets import HIDDEN, is_sensitive

_LOGIN = re.compile(r"^([^/?#]*//)[^/?#]*@")
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# "http:localhost:8000" and "https:/host" were printed in configs; "http:8000" is a host named "http".
_BROKEN_SCHEME = re.compile(r"(?P<scheme>https?):(?:/(?!/)|(?![/\d]))", re.IGNORECASE)
_HOST = re.compile(r"[^\s\x00-\x1f\x7f/\\?#@:\[\]<>\"'`{}|^%,;]+")

# What people copy from a line of curl. The version in front of `models` tells it from a path of that name.
_OPERATION = re.compile(r"/(?:(?:chat/)?completions|responses|embeddings|(?<=\d/)models)$")

# Their documentation gives the bare host as the base URL; most of them answer 404 under /v1.
_ROOTED_HOSTS = ("api.deepseek.com", "api.perplexity.ai", "githubcopilot.com")

_PRIVATE_SUFFIXES = (".local", ".lan", ".internal", ".cluster.local", ".localhost")
_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/32", "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
        *("::/128", "::1/128", "fc00::/7", "fe80::/10"),
    )
)


def normalised_base(url: str) -> str:
    """Give the URL that operations such as `/chat/completions` are appended to.

    A bare host gets `/v1`; an operation at the end is cut off, and then what is before it is taken as it is. A scheme
    that is missing is http for private hosts and https for all others. `ValueError` says what to write instead.

    >>> normalised_base("localhost:8000")
    'http://localhost:8000/v1'
    >>> normalised_base("https://example.com/api/v3/chat/completions")
    'https://example.com/api/v3'
    """
    return _normalised(url, _base_path)


def normalised_messages_base(url: str) -> str:
    """Give the URL that Anthropic's operations are appended to; its own client takes one without the version.

    >>> normalised_messages_base("https://example.com/anthropic")
    'https://example.com/anthropic/v1'
    >>> normalised_messages_base("localhost:8000/v1/messages")
    'http://localhost:8000/v1'
    """
    return _normalised(url, _messages_path)


def normalised_gemini_base(url: str) -> str:
    """Give the URL that `/models/…:generateContent` is appended to; Google's own client takes one without the version.

    >>> normalised_gemini_base("generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash:generateContent")
    'https://generativelanguage.googleapis.com/v1beta'
    >>> normalised_gemini_base("http://localhost:8000")
    'http://localhost:8000/v1beta'
    """
    return _normalised(url, _gemini_path)


def normalised_azure_base(url: str) -> str:
    """Give the URL of a resource on Azure, or of a deployment, without the operation that was pasted with it.

    >>> normalised_azure_base("mine.openai.azure.com//openai/deployments/gpt/chat/completions?api-version=1")
    'https://mine.openai.azure.com/openai/deployments/gpt?api-version=1'
    """
    return _normalised(url, _azure_path)


def normalised_url(url: str) -> str:
    """Give a whole URL, to which nothing is appended: what is missing is filled in and refused as in a base URL.

    >>> normalised_url("localhost:8000/llm/")
    'http://localhost:8000/llm/'
    """
    return _normalised(url, lambda host, path: path)


def _normalised(url: str, path_of: Callable[[str, str], str]) -> str:
    scheme, rest = _split_scheme(url.strip())
    if "@" in rest.partition("/")[0]:
        raise ValueError("a user name or password in a URL is not supported: give it as api_key or in default_headers")
    rest = rest.partition("#")[0]
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    host, port = _split_port(netloc)
    scheme = scheme or ("http" if is_private_host(host) else "https")
    shown_host = f"[{host}]" if ":" in host else host
    if any(char.isspace() or not char.isprintable() for char in path):
        raise ValueError("a URL holds no spaces: write %20 where one is meant")
    whole = f"{scheme}://{shown_host}{f':{port}' if port else ''}{path_of(host, slash + path)}"
    return f"{whole}?{query}" if query else whole


def is_private_host(host: str) -> bool:
    """Tell whether a host is this machine or stands in one's own network."""
    host = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        # A resolver reads "134744072" and "0x8080808" as public addresses, not as names.
        numeric = re.fullmatch(r"\d+|0x[0-9a-f]+", host)
        return bool(host) and not numeric and ("." not in host or host.endswith(_PRIVATE_SUFFIXES))
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in _PRIVATE_NETWORKS)


def origin(url: str) -> str:
    """Name an endpoint in a message: scheme, host and port, never what may hold a secret.

    >>> origin("https://example.com:8443/v1?key=1")
    'https://example.com:8443'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def host_of(url: str) -> str:
    """Give a URL's host, lower-case, without the brackets of IPv6."""
    return urlsplit(url).hostname or ""


def join(base: str, path: str, query: Mapping[str, str] | None = None) -> str:
    """Append a path to a base URL; the base's own query stays behind it, and `query` wins over it.

    >>> join("https://example.com/v1?api-version=1", "/chat/completions", {"trace": "on"})
    'https://example.com/v1/chat/completions?api-version=1&trace=on'
    """
    stem, mark, own = base.partition("?")
    return with_query(f"{stem.rstrip('/')}/{path.lstrip('/')}{mark}{own}", query or {})


def with_query(url: str, query: Mapping[str, str]) -> str:
    """Lay query parameters over those that a URL has already."""
    if not query:
        return url
    stem, _, own = url.partition("?")
    merged = {**dict(parse_qsl(own, keep_blank_values=True)), **query}
    return f"{stem}?{urlencode(merged, quote_via=quote)}"


def with_list(url: str, name: str, values: Iterable[str]) -> str:
    """Append a query parameter that has several values, each in a pair of its own.

    >>> with_list("https://example.com/v1?a=1", "b[]", ["2", "3"])
    'https://example.com/v1?a=1&b%5B%5D=2&b%5B%5D=3'
    """
    pairs = urlencode([(name, value) for value in values], quote_via=quote)
    return f"{url}{'&' if '?' in url else '?'}{pairs}" if pairs else url


def shown(url: str) -> str:
    """Give a URL fit for people's eyes: the values of query parameters that carry credentials are hidden."""
    stem, mark, query = url.partition("?")
    if not mark:
        return url
    pairs = (pair.partition("=") for pair in query.split("&"))
    return f"{stem}?" + "&".join(
        f"{name}={HIDDEN}" if is_sensitive(name) else f"{name}{equals}{value}" for name, equals, value in pairs
    )


def without_login(url: str) -> str:
    """Take the user and the password out of a URL, which may have no scheme.

    >>> without_login("https://me:pass@host/v1?a=b@c")
    'https://host/v1?a=b@c'
    """
    return _LOGIN.sub(r"\1", url)


def _split_scheme(url: str) -> tuple[str, str]:
    found = _SCHEME.match(url) or _BROKEN_SCHEME.match(url)
    if found is None:
        return "", url.lstrip("/")
    scheme = found["scheme"].lower()
    if scheme not in ("http", "https"):
        raise ValueError(f"a URL begins with http:// or https://, not {scheme}://")
    # What has no host between its slashes may be a variable that was empty, and "v1" is no host.
    return scheme, url[found.end() :]


def _split_port(netloc: str) -> tuple[str, str]:
    """Split `host:port`; the host of IPv6 comes without its brackets."""
    host, colon, port = netloc.partition(":")
    if netloc.startswith("["):
        host, bracket, port = netloc[1:].partition("]")
        colon, port = port[:1], port[1:]
        if not bracket or not _is_ipv6(host) or colon not in ("", ":"):
            raise ValueError(f"{netloc!r} is no IPv6 host: write [::1]:8000")
    elif netloc.count(":") > 1:
        if not _is_ipv6(netloc):
            raise ValueError("there are several colons after the scheme: write host:8000, or [::1]:8000 for IPv6")
        host, port = netloc, ""
    elif not _is_name(host):
        raise ValueError(f"{host!r} is no host name" if host else "a URL needs a host: write https://example.com/v1")
    if not port and host.lower() in ("http", "https"):
        raise ValueError("the scheme stands twice, or lacks its colon: write https://example.com/v1")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        # Not shown: it may be half of a password.
        raise ValueError("what follows the host is no port: write a number from 1 to 65535 after the colon")
    return host.lower(), port


def _is_name(host: str) -> bool:
    """Tell whether a resolver can be asked for a name: no label of it is empty, or longer than 63 signs."""
    if not _HOST.fullmatch(host):
        return False
    if host.isascii():
        return all(0 < len(label) < 64 for label in host.removesuffix(".").split("."))
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _base_path(host: str, path: str) -> str:
    path = re.sub(r"/{2,}", "/", path).rstrip("/")
    stem = _OPERATION.sub("", path)
    if path or host.endswith(_ROOTED_HOSTS):
        return stem
    return "/v1"


def _messages_path(host: str, path: str) -> str:
    path = re.sub(r"/{2,}", "/", path).rstrip("/").removesuffix("/messages")
    return path if re.search(r"/v\d\w*$", path) else f"{path}/v1"


def _gemini_path(host: str, path: str) -> str:
    path = re.sub(r"/{2,}", "/", path).rstrip("/")
    path = re.sub(r"/(?:models|tunedModels)(?:/.*)?$", "", path)
    # Where Google speaks OpenAI's format.
    path = re.sub(r"(/v\d\w*)/openai(?:/.*)?$", r"\1", path)
    return path if re.search(r"/v\d\w*(?:/|$)", path) else f"{path}/v1beta"


def _azure_path(host: str, path: str) -> str:
    path = re.sub(r"/{2,}", "/", path).rstrip("/")
    return re.sub(r"/images/(?:generations|edits|variations)$", "", _OPERATION.sub("", path))
