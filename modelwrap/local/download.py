"""Files over HTTP: redirects followed, credentials kept to their host, what was interrupted continued."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import urldefrag, urljoin, urlsplit

from modelwrap.errors import CallError, InvalidResponse, RedirectRefused
from modelwrap.local.cache import Part, check_room, disk_errors, sha256_of
from modelwrap.local.progress import Progress
from modelwrap.runtime import of_thread
from modelwrap.runtime.base import Deadline, HttpResponse, Runtime, run_sync
from modelwrap.secrets import Scrubber, Secret
from modelwrap.wire.failures import failure
from modelwrap.wire.http import Connection, HttpRequest, Timeouts
from modelwrap.wire.urls import host_of, origin

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5

# A mirror that has to fetch a large file itself first is silent for that long.
_PAGE_TIMEOUTS = Timeouts(connect=15.0, first_token=60.0, idle=60.0, total=180.0)
_FILE_TIMEOUTS = Timeouts(connect=15.0, first_token=300.0, idle=60.0, total=12 * 3600.0)

# Failures in a row that brought no byte.
_MOST_FAILURES = 3
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0

_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<size>\d+|\*)")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')

Headers = Mapping[str, str]
T = TypeVar("T")


class Access(Protocol):
    """Know how to connect to the host of a URL, and which credential that host may see."""

    def connection(self, url: str) -> Connection: ...

    def authorization(self, url: str) -> Secret | None: ...


@dataclass(frozen=True, slots=True)
class Page:
    url: str
    """Where it was found in the end."""
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Remote:
    """Be a file at the other end of HTTP."""

    url: str
    access: Access
    name: str
    """What it is called in words to the user."""
    sha256: str | None = None
    """Of what must come; so is its size."""
    size: int | None = None
    room: int = 0
    """Bytes that the disk must hold beside the file itself."""


def read_page(url: str, access: Access, accept: str) -> Page:
    """Read a page of an index; `CallError` when it cannot be had."""
    runtime = of_thread()
    deadline = Deadline(_PAGE_TIMEOUTS.total)

    async def read() -> Page:
        request = _request(url, access, {"accept": accept}, _PAGE_TIMEOUTS)
        opened = await _follow(runtime, request, access, deadline)
        opened.response.read_limit.change(_PAGE_TIMEOUTS.idle, "idle")
        body = await opened.response.read()
        return Page(opened.request.url, opened.response.headers.get("content-type", ""), body)

    return run_sync(_persistently(read, runtime))


def download(remote: Remote, part: Part, progress: Progress) -> None:
    """Bring a file whole into `part`, from where it was left, and check its hash where one is known.

    `CallError` when that fails. What had come by then stays, unless its hash is wrong.
    """
    while True:
        continued = part.size > 0
        headers = run_sync(_download(remote, part, progress, of_thread()))
        expected = remote.sha256 or _linked_sha256(headers)
        progress(part.size, part.size, f"checking {remote.name}")
        with disk_errors(part.path):
            if expected in (None, sha256_of(part.path)):
                return
        part.delete()
        if not continued:
            raise InvalidResponse(f"{remote.name} came with another sha256 than {expected}, and was deleted")


def _linked_sha256(headers: Headers) -> str | None:
    """Read the hash that the Hugging Face hub gives for a large file, before it redirects to where that lies."""
    found = _SHA256.fullmatch(headers.get("x-linked-etag", ""))
    return found[1] if found else None


async def _download(remote: Remote, part: Part, progress: Progress, runtime: Runtime) -> Headers:
    deadline = Deadline(_FILE_TIMEOUTS.total)

    async def attempt() -> Headers:
        return await _attempt(remote, part, progress, runtime, deadline)

    return await _persistently(attempt, runtime, lambda: part.size)


async def _persistently(
    work: Callable[[], Awaitable[T]], runtime: Runtime, achieved: Callable[[], int] = lambda: 0
) -> T:
    """Try again what may pass, as long as something is achieved; but where no host answers at all, say so at once."""
    failures, begun_with = 0, achieved()
    while True:
        before = achieved()
        try:
            return await work()
        except CallError as error:
            failures = 0 if achieved() > before else failures + 1
            reached = error.sent or achieved() > begun_with
            if not error.retryable or not reached or failures >= _MOST_FAILURES:
                raise
            await runtime.sleep(min(error.retry_after or _FIRST_PAUSE * 2**failures, _LONGEST_PAUSE))


async def _attempt(remote: Remote, part: Part, progress: Progress, runtime: Runtime, deadline: Deadline) -> Headers:
    offset, headers = _continuation(part, hash_known=remote.sha256 is not None)
    request = _request(remote.url, remote.access, {"accept-encoding": "identity", **headers}, _FILE_TIMEOUTS)
    opened = await _follow(runtime, request, remote.access, deadline)
    response = opened.response
    try:
        _check_offer(remote, opened, offset)
        if _is_whole(response, offset):
            return opened.headers
        if _continues(response, offset):
            start = offset
        else:
            part.begin(_strong_version(response.headers))
            start = 0
        if response.status == 200 or start:
            await _take(response, remote, part, start, progress)
            return opened.headers
    finally:
        await response.aclose()
    if not offset:
        raise InvalidResponse(f"{origin(opened.request.url)} sent a part of the file, and the whole was asked for")
    # What is here is the beginning of no file of theirs, and is gone now.
    return await _attempt(remote, part, progress, runtime, deadline)


async def _take(response: HttpResponse, remote: Remote, part: Part, start: int, progress: Progress) -> None:
    total = _total(response, start) or remote.size
    check_room(part.path.parent, (total or start) - start + remote.room)
    steps = _Steps(progress, start, total, f"downloading {remote.name} from {host_of(remote.url)}")
    response.read_limit.change(_FILE_TIMEOUTS.idle, "idle")
    steps.add(0)
    with part.appending() as write:
        async with aclosing(response.stream()) as pieces:
            async for piece in pieces:
                if total is not None and steps.done + len(piece) > total:
                    raise InvalidResponse(f"more came than the {total} bytes of {remote.name}")
                write(piece)
                steps.add(len(piece))


@dataclass(slots=True)
class _Steps:
    progress: Progress
    done: int
    total: int | None
    what: str

    def add(self, size: int) -> None:
        self.done += size
        self.progress(self.done, self.total, self.what)


# Where to go on.


def _continuation(part: Part, hash_known: bool) -> tuple[int, dict[str, str]]:
    """Tell how many bytes are there to go on from, and the headers that ask for the rest."""
    offset, version = part.size, part.version
    if not offset or not (version or hash_known):
        return 0, {}
    condition = {"if-range": version} if version else {}
    return offset, {"range": f"bytes={offset}-", **condition}


def _continues(response: HttpResponse, offset: int) -> bool:
    given = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return response.status == 206 and offset > 0 and given is not None and given["start"] == str(offset)


def _is_whole(response: HttpResponse, offset: int) -> bool:
    """Tell whether there was nothing left to ask for."""
    given = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return response.status == 416 and given is not None and offset > 0 and given["size"] == str(offset)


def _strong_version(headers: Headers) -> str:
    tag = headers.get("etag", "")
    # A body that was encoded on the way has other offsets than the file.
    return tag if tag.startswith('"') and "content-encoding" not in headers else ""


def _total(response: HttpResponse, start: int) -> int | None:
    length = response.headers.get("content-length", "")
    return start + int(length) if length.isdecimal() and "content-encoding" not in response.headers else None


def _check_offer(remote: Remote, opened: _Opened, offset: int) -> None:
    """Refuse another file while what is here of the right one still stands: a login page, most of the time."""
    response = opened.response
    sha256 = _linked_sha256(opened.headers)
    if remote.sha256 and sha256 and sha256 != remote.sha256:
        raise InvalidResponse(f"the server offers a file with the sha256 {sha256}, and {remote.sha256} is wanted")
    offered = _total(response, offset if _continues(response, offset) else 0)
    linked = opened.headers.get("x-linked-size", "")
    wanted = remote.size or (int(linked) if linked.isdecimal() else None)
    if response.status in (200, 206) and None not in (offered, wanted) and offered != wanted:
        raise InvalidResponse(f"the server offers a file of {offered} bytes, and {remote.name} has {wanted}")


# Requests and redirects.


@dataclass(frozen=True, slots=True)
class _Opened:
    request: HttpRequest
    response: HttpResponse
    headers: Headers
    """Of every answer on the way; the first that says something is believed."""


def _request(url: str, access: Access, headers: Headers, timeouts: Timeouts) -> HttpRequest:
    authorization = access.authorization(url)
    credentials = {"authorization": authorization} if authorization else {}
    return HttpRequest(
        "GET",
        urldefrag(url).url,
        {**headers, **credentials},
        connection=access.connection(url),
        timeouts=timeouts,
        stream=True,
        # Weights are as large as they are.
        largest_body=sys.maxsize,
    )


async def _follow(runtime: Runtime, request: HttpRequest, access: Access, deadline: Deadline) -> _Opened:
    """Send a request on to where it is redirected; give the first answer that is none, or raise its failure."""
    asked = {name: value for name, value in request.headers.items() if isinstance(value, str)}
    first = request
    said: dict[str, str] = {}
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            response = await runtime.send(request, deadline)
            said = {**response.headers, **said}
            if response.status not in (*_REDIRECTS, 200, 206, 416):
                raise await _refusal(response, request)
        except CallError as error:
            # The caller knows the first host, and not where it sent us.
            error.endpoint = None if request is first else origin(request.url)
            raise
        if response.status not in _REDIRECTS:
            return _Opened(request, response, said)
        await response.aclose()
        url = _redirected(request.url, response.headers.get("location", ""))
        request = _request(url, access, asked, request.timeouts)
    raise RedirectRefused(f"more than {_MOST_REDIRECTS} redirects")


async def _refusal(response: HttpResponse, request: HttpRequest) -> CallError:
    response.read_limit.change(request.timeouts.idle, "idle")
    error = failure(response.status, response.headers, await response.read())
    error.scrub(Scrubber(request.secrets))
    return error


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        raise RedirectRefused(f"{origin(url)} redirects to what is no URL") from None
    if parts.scheme not in ("http", "https") or not host or not location:
        raise RedirectRefused(f"{origin(url)} redirects to what is no address on the web")
    if parts.scheme == "http" and url.startswith("https:"):
        raise RedirectRefused(f"{origin(url)} redirects to {origin(target)}, which is not secure")
    # A user name in it would be the server's idea, not the user's.
    return parts._replace(netloc=host).geturl()
