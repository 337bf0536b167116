"""Media that messages name by URL, fetched for a wire that needs their bytes, from the public internet only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field

from modelwrap.config import ConfigPart, ModelConfig, Seconds
from modelwrap.errors import BadRequest, CallError, TimedOut
from modelwrap.models.call import Call
from modelwrap.runtime.addresses import is_public
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.types import Change, Message
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from modelwrap.wire.media_parts import Media, media_of, with_media, wrong
from modelwrap.wire.media_types import is_text, sniff
from modelwrap.wire.repair import tell
from modelwrap.wire.urls import is_private_host, shown, without_login

_AT_ONCE = 8

_LONGEST_SHOWN = 200

# To a resolver "0x7f.1", "2130706433" and "127.1" are addresses too, and nobody sees where they lead.
_ODD_ADDRESS = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|\d+)")

_FAMILIES = {"image": ("image/",), "audio": ("audio/", "video/"), "video": ("video/",)}


class MediaArgs(ConfigPart):
    """Say how media that stand in messages as URLs are fetched, because the model takes only their bytes."""

    fetch: bool = Field(default=True, description="Whether they are fetched at all; if not, such a message is refused.")
    largest: Annotated[int, Field(gt=0, le=64_000_000)] = Field(
        default=10_000_000, description="How many bytes one of them may have."
    )
    timeout: Seconds = Field(default=5.0, description="How many seconds one of them may take.")
    private_hosts: list[str] = Field(
        default=[],
        description="Hosts in one's own network from which they may come, over plain http too: `name` or `name:port`. "
        "All others must speak https and have public addresses.",
    )


class FetchingConfig(ModelConfig):
    """Be the config of a model type whose wire needs the bytes of media."""

    media: MediaArgs = Field(
        default_factory=MediaArgs, description="How media that messages name by URL are fetched ([keys](#media))."
    )


@dataclass(frozen=True, slots=True)
class Fetching:
    """Say for one model which media are fetched, and how."""

    args: MediaArgs = field(default_factory=MediaArgs)
    connection: Connection = Connection()
    takes_url: Callable[[Media], bool] = lambda media: False
    """Tell whether the wire takes a URL as it is."""


async def fetched(media: Media, where: str, call: Call, runtime: Runtime, fetching: Fetching) -> Media:
    """Fetch media from their URL; `BadRequest` names by `where` what cannot be had."""
    return await _fetch(_Wanted(media, where), call.deadline, runtime, fetching)


@dataclass(frozen=True, slots=True)
class _Wanted:
    media: Media
    where: str


async def with_media_fetched(
    messages: list[Message], call: Call, runtime: Runtime, fetching: Fetching
) -> list[Message]:
    """Put bytes in the place of URLs which the wire does not take; `BadRequest` names what cannot be had.

    What was fetched stays with the call, so that another attempt does not fetch it again.
    """
    wanted = {
        (number, position): _Wanted(media, f"messages[{number}].content[{position}]")
        for number, position, media in _media_elsewhere(messages)
        if not fetching.takes_url(media)
    }
    if not wanted:
        return messages

    async def fetch(one: _Wanted) -> Media:
        return await _fetch(one, call.deadline, runtime, fetching)

    new = {one.media.url: one for one in reversed(wanted.values()) if one.media.url not in call.fetched}
    missing = list(reversed(new.values()))
    for start in range(0, len(missing), _AT_ONCE):
        batch = missing[start : start + _AT_ONCE]
        for one, media in zip(batch, await runtime.each(fetch, batch), strict=True):
            call.fetched[one.media.url] = media
    for one in wanted.values():
        tell(call.lasting, Change("converted", one.where, f"fetched {_shown(one.media.url)}, sent as its bytes"))
    return [_with_bytes(message, number, wanted, call.fetched) for number, message in enumerate(messages)]


def _media_elsewhere(messages: list[Message]) -> Iterator[tuple[int, int, Media]]:
    for number, message in enumerate(messages):
        parts = message.get("content")
        for position, part in enumerate(parts if isinstance(parts, list) else ()):
            media = media_of(part, f"messages[{number}].content[{position}]") if isinstance(part, Mapping) else None
            if media is not None and media.url:
                yield number, position, media


def _with_bytes(
    message: Message, number: int, wanted: Mapping[tuple[int, int], _Wanted], fetched: Mapping[str, Media]
) -> Message:
    parts = message.get("content")
    if not isinstance(parts, list) or not any((number, position) in wanted for position in range(len(parts))):
        return message
    found = (wanted.get((number, position)) for position in range(len(parts)))
    content = [
        part if one is None else with_media(part, fetched[one.media.url])
        for part, one in zip(parts, found, strict=True)
    ]
    return {**message, "content": content}


async def _fetch(one: _Wanted, within: Deadline, runtime: Runtime, fetching: Fetching) -> Media:
    url, args = one.media.url, fetching.args
    if not args.fetch:
        raise wrong(one.where, f"this model takes bytes, and its config lets nothing be fetched: {_shown(url)}")
    connection = replace(fetching.connection, public_only=_must_be_public(url, one.where, args))
    within.check()
    deadline = Deadline(min(args.timeout, within.remaining()), runtime.now)
    limits = Timeouts(args.timeout, args.timeout, args.timeout, args.timeout)
    request = HttpRequest(
        "GET", url.partition("#")[0], {"accept": "*/*"}, connection=connection, largest_body=args.largest
    )
    try:
        data, content_type = await _get(request.prepared(limits), deadline, runtime)
    except CallError as error:
        within.check()
        words = f"it took longer than {args.timeout:g} s" if isinstance(error, TimedOut) else error.message
        raise wrong(one.where, f"{_shown(url)} cannot be fetched: {words}") from error
    return _recognised(data, content_type, one)


async def _get(request: HttpRequest, deadline: Deadline, runtime: Runtime) -> tuple[bytes, str]:
    response = await runtime.send(request, deadline)
    try:
        if 300 <= response.status < 400:
            raise BadRequest(f"it redirects (HTTP {response.status}); give the URL at which it is", sent=False)
        if response.status != 200:
            raise BadRequest(f"the answer is HTTP {response.status}", sent=False)
        data = await response.read()
    finally:
        await response.aclose()
    return data, response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _must_be_public(url: str, where: str, args: MediaArgs) -> bool:
    """Check what a URL says by itself, and tell whether its host's addresses are to be checked as well."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise wrong(where, "this is no URL") from None
    if parts.username is not None or parts.password is not None:
        raise wrong(where, "a URL with a user name or a password in it is not fetched")
    listed = not {host, f"{host}:{port}"}.isdisjoint(known.lower() for known in args.private_hosts)
    _check_scheme(parts.scheme, where, may_be_plain=listed)
    if not host:
        raise wrong(where, "this URL names no host")
    if not (listed or _may_be_public(host)):
        raise wrong(where, f"{host} is no public host, and media.private_hosts of the config does not name it")
    return not listed


def _check_scheme(scheme: str, where: str, *, may_be_plain: bool) -> None:
    if scheme == "http" and not may_be_plain:
        raise wrong(
            where,
            "media are fetched over https only, and this is an http:// URL, whose host media.private_hosts of the "
            "config does not name",
        )
    if scheme not in ("http", "https"):
        raise wrong(where, "this model takes the bytes of media: give a data: or https:// URL, bytes or a pathlib.Path")


def _may_be_public(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        return not (_ODD_ADDRESS.fullmatch(host) or is_private_host(host))


def _recognised(data: bytes, content_type: str, one: _Wanted) -> Media:
    actual = sniff(data) or _text_type(data, content_type)
    families = _FAMILIES.get(one.media.kind)
    if not data or actual is None or (families and not actual.startswith(families)):
        what = "empty" if not data else f"{actual or content_type or 'something unknown'}, no {one.media.kind}"
        raise wrong(one.where, f"what {_shown(one.media.url)} holds is {what}")
    name = one.media.name or unquote(urlsplit(one.media.url).path.rpartition("/")[2]) or None
    return Media.of(data, actual, one.media.kind, name)


def _text_type(data: bytes, content_type: str) -> str | None:
    if not is_text(data):
        return None
    return content_type if content_type.startswith("text/") or content_type == "application/json" else "text/plain"


def _shown(url: str) -> str:
    """Give a URL for an error's words, without what signs it and not longer than one can read."""
    text = without_login(shown(url))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
