"""OpenAI's images, and whatever else speaks of them so: made from words, or from words and other images."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelwrap.capabilities import Facts, Traits
from modelwrap.capabilities.keys import is_range
from modelwrap.errors import (
    BadRequest,
    CallError,
    ConnectionFailed,
    ContentFiltered,
    InvalidResponse,
    StreamFailed,
    StreamTruncated,
)
from modelwrap.types import JSON, Change, ChatChunk, ImageChunk, ImageReply
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, multipart, sse
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.media_parts import Media
from modelwrap.wire.openai_chat import to_bytes, to_headers
from modelwrap.wire.repair import tell, validated
from modelwrap.wire.urls import join
from modelwrap.wire.usage import token_usage

# Some ten images of the largest kind, in base64.
LARGEST_ANSWER = 256 * 2**20

IMAGE_PARAMETERS = ("image", "mask", "markup")
"""The parameters that hold images; they are read before, and stand in what is asked."""

_FACTS = {
    **{name: f"image.{name}" for name in ("n", "size", "quality", "style", "background", "moderation")},
    **{name: f"image.{name}" for name in ("input_fidelity", "output_format", "response_format")},
    "partial_images": "image.stream_partial_images",
}
"""Which fact says whether a parameter is taken."""

_DONE = "[DONE]"

# Volcengine tells of each of several images so, and at the end of what they cost, without an image.
_ONE_OF_SEVERAL = ".partial_succeeded"
_NONE_OF_SEVERAL = ".partial_failed"


@dataclass(frozen=True, slots=True)
class Asked:
    """Say what is to be shown, and by which images."""

    prompt: str = ""
    images: tuple[Media, ...] = ()
    beside: tuple[tuple[str, Media], ...] = ()
    """Images that are no input by themselves, such as a mask, by the names of their parameters."""
    in_list: bool = False
    """Whether the images were given as a list, and go out as one even where it holds a single image."""

    @property
    def operation(self) -> str:
        if not self.images:
            return "generations"
        return "edits" if self.prompt else "variations"


# Requests.


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request: words alone make images, words and images edit them, an image alone is varied.

    Images go out as the files of a form, unless one of them is a URL or the endpoint wants JSON.
    """
    asked: Asked = call.input
    _check(asked, call, traits.facts)
    model = {"model": call.model} if call.model else {}
    prompt = {"prompt": asked.prompt} if asked.prompt else {}
    stream = {"stream": True} if call.stream else {}
    body = {**model, **prompt, **_parameters(call, traits.facts), **stream, **call.extra_body}
    files = {**_inputs(asked), **dict(asked.beside)}
    wants_urls = traits.facts.get("wire.image_edits") == "urls"
    if not files or wants_urls or not all(media.base64 for media in files.values()):
        body = {**body, **(_as_urls(asked) if wants_urls else _as_references(asked))}
        content_type, content = "application/json", to_bytes(body)
    else:
        # What JSON cannot carry would go out as Python shows it.
        to_bytes(body)
        content_type, content = multipart.to_form([*multipart.fields(body), *_parts(files)])
        body = {**body, **{name: f"{media.type}, {media.size} bytes" for name, media in files.items()}}
    return HttpRequest(
        "POST",
        join(endpoint.base_url, f"/images/{asked.operation}", endpoint.query),
        {**to_headers(call, endpoint), "content-type": content_type},
        json=body,
        content=content,
        connection=endpoint.connection,
        stream=call.stream,
        largest_body=LARGEST_ANSWER,
    )


def _check(asked: Asked, call: WireCall, facts: Facts) -> None:
    if call.parameters.get("prompt") is not None:
        raise BadRequest("prompt: the words stand first in a call, without a name", sent=False)
    if not asked.prompt and not asked.images:
        raise BadRequest("an image is made from words or from another image, and neither is given", sent=False)
    if asked.beside and not asked.images:
        raise BadRequest(f"{asked.beside[0][0]}: belongs to an image, and none is given", sent=False)
    key = f"image.{asked.operation}"
    if asked.images and facts.certain(key) and facts.get(key) is False:
        advice = "; say in words what is to change" if asked.operation == "variations" else ""
        raise BadRequest(f"{facts.model} makes no {asked.operation} of images{advice}", sent=False)


def _parameters(call: WireCall, facts: Facts) -> dict[str, Any]:
    given = {name: value for name, value in call.parameters.items() if value is not None}
    return {
        name: value
        for name, value in given.items()
        if name not in IMAGE_PARAMETERS and not _is_left_out(name, value, call, facts)
    }


def _is_left_out(name: str, value: Any, call: WireCall, facts: Facts) -> bool:
    key = _FACTS.get(name)
    if key is None or not facts.certain(key) or not _refuses(facts.get(key), value):
        return False
    if name == "response_format" and value == "b64_json" and facts.get("image.returns") == "b64":
        tell(call.changes, Change("dropped", name, f"{facts.model} gives nothing else, and refuses to be asked"))
        return True
    return call.leaves_out(name, facts.reason(key))


def _refuses(state: Any, value: Any) -> bool:
    if state is False:
        return True
    if is_range(state):
        return isinstance(value, (int, float)) and not state[0] <= value <= state[1]
    return isinstance(state, tuple) and value not in state


def _inputs(asked: Asked) -> dict[str, Media]:
    """Name the images as the fields of a form."""
    if len(asked.images) == 1 and not asked.in_list:
        return {"image": asked.images[0]}
    return {f"image[{place}]": media for place, media in enumerate(asked.images)}


def _parts(files: Mapping[str, Media]) -> Iterator[multipart.Part]:
    for name, media in files.items():
        field = "image[]" if name.startswith("image[") else name
        place = name.removeprefix("image[").removesuffix("]") if field == "image[]" else ""
        filename = media.name or f"{field.removesuffix('[]')}{place}.{media.type.rpartition('/')[2] or 'bin'}"
        yield multipart.Part(field, media.data, filename, media.type or "application/octet-stream")


def _as_references(asked: Asked) -> dict[str, Any]:
    if not asked.images:
        return {}
    return {
        "images": [_reference(media) for media in asked.images],
        **{name: _reference(media) for name, media in asked.beside},
    }


def _reference(media: Media) -> dict[str, str]:
    return {"file_id": media.file_id} if media.file_id else {"image_url": media.url or media.data_url}


def _as_urls(asked: Asked) -> dict[str, Any]:
    """Write images as xAI takes them."""
    images = [{"type": "image_url", "url": media.url or media.data_url} for media in asked.images]
    if not images:
        return {}
    beside = {name: {"type": "image_url", "url": media.url or media.data_url} for name, media in asked.beside}
    return {**({"images": images} if asked.in_list or len(images) > 1 else {"image": images[0]}), **beside}


# Replies.


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> ImageReply:
    with failures.told_of(body, headers):
        reply = _read(bodies.loads(body), call.changes)
    reply.meta.request_id = failures.request_id_of(headers)
    return reply


def _read(data: JSON, changes: list[Change]) -> ImageReply:
    # SiliconFlow has them under the other name.
    items = data.get("data", data.get("images")) if isinstance(data, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        if isinstance(data, dict) and failures.says_error(data):
            raise failures.refused(failures.read(data), 200)
        raise InvalidResponse("the answer holds no images")
    reply = to_reply({**data, "data": items}, changes)
    reply._raw = data
    if not any(image.url or image.b64_json for image in reply.data):
        raise _nothing_in(items)
    return reply


def _nothing_in(items: list[dict[str, Any]]) -> CallError:
    """Say why there is no image; xAI leaves out what it filtered without a word."""
    said = next((item for item in items if failures.names_error(item)), None)
    if said is not None:
        return failures.refused(failures.read(said), 200)
    return (ContentFiltered if items else InvalidResponse)("the answer holds no image, but places for some")


def to_reply(data: dict[str, Any], changes: list[Change]) -> ImageReply:
    """Make a reply of images that stand in OpenAI's list."""
    reply = validated(ImageReply, data, changes)
    reply._raw = data
    if not reply.usage.model_fields_set.isdisjoint(("prompt_tokens", "input_tokens")):
        reply.meta.usage = token_usage(reply.usage)
    return reply


# Streams.


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End
) -> AsyncGenerator[ChatChunk, None]:
    """Read a stream of images, each of which may be shown before it is finished.

    It ends with as many images as were asked for. An error before the first piece is the refusal that it says; a later
    one is a `StreamFailed`.
    """
    reader = _EventReader(call)
    try:
        async for event in events:
            if event.unfinished:
                break
            if event.data.strip() == _DONE:
                end.marked = True
                break
            for chunk in reader.read(event):
                yield chunk
            if reader.complete:
                end.marked = True
                break
    except ConnectionFailed as error:
        if not reader.images:
            raise StreamTruncated(f"the connection broke within the answer: {error.message}") from error
    if not reader.images:
        raise reader.without_image(ended=end.marked)


class _EventReader:
    """Read the events of one stream, and count what they brought."""

    def __init__(self, call: WireCall) -> None:
        wanted = {**call.parameters, **call.extra_body}.get("n")
        self._wanted = wanted if isinstance(wanted, int) else 1
        self._changes = call.changes
        self._began = False
        self._ends = 0
        self._whole = False
        """Whether a body came in place of a stream."""
        self._refused: CallError | None = None
        self.images = 0
        """How many are finished."""

    @property
    def complete(self) -> bool:
        return self._ends >= self._wanted or (self._whole and self.images > 0)

    def without_image(self, *, ended: bool) -> CallError:
        """Say of a stream in which no image was finished why it was not."""
        if not ended:
            return StreamTruncated("the stream ended before its image was finished")
        return self._refused or InvalidResponse("the stream held no image")

    def read(self, event: sse.Event) -> Iterator[ImageChunk]:
        for chunk in self._chunks(event):
            self._began = True
            self.images += bool(chunk.url or chunk.b64_json) and not chunk.partial
            self._ends += not (chunk.partial or chunk.type.endswith(_ONE_OF_SEVERAL))
            yield chunk

    def _chunks(self, event: sse.Event) -> Iterator[ImageChunk]:
        value = bodies.loads(event.data.encode())
        if event.bare:
            self._whole = True
            reply = _read(value, self._changes)
            pieces = [{**image.model_dump(), "usage": value.get("usage")} for image in reply.data]
            yield from (self._chunk({"type": "image.completed", **piece}, value) for piece in pieces)
            return
        if not isinstance(value, dict):
            raise InvalidResponse("an event of the stream is no object", body=event.data)
        kind = value.get("type")
        if isinstance(kind, str) and kind.endswith(_NONE_OF_SEVERAL):
            self._refused = failures.refused(failures.read(value), 200)
            tell(self._changes, Change("dropped", "data", f"an image was not made: {self._refused.message}"))
            return
        if kind == "error" or event.event == "error" or isinstance(value.get("error"), dict):
            error = failures.refused(failures.read(value), 200)
            raise StreamFailed(error.message, code=error.code, body=event.data) if self._began else error
        chunk = self._chunk(value, value)
        if chunk.url or chunk.b64_json or chunk.usage is not None:
            yield chunk

    def _chunk(self, value: dict[str, Any], raw: JSON) -> ImageChunk:
        chunk = validated(ImageChunk, value, self._changes)
        chunk._raw = raw
        return chunk


class ImageAssembly:
    """Collect the images of a stream; `reply()` may be asked at any time for those that are finished."""

    def __init__(self) -> None:
        self._finished: list[dict[str, Any]] = []
        self._known: dict[str, Any] = {}
        self._raw: list[JSON] = []

    def __bool__(self) -> bool:
        return bool(self._raw)

    def add(self, chunk: ChatChunk) -> None:
        # A body that came in place of a stream may hold several images.
        if not self._raw or chunk.raw is not self._raw[-1]:
            self._raw.append(chunk.raw)
        assert isinstance(chunk, ImageChunk)
        if chunk.partial:
            return
        said = chunk.model_dump(exclude={"type", "usage"}, exclude_none=True)
        image: dict[str, Any] = {name: said.pop(name) for name in ("b64_json", "url", "revised_prompt") if name in said}
        if image:
            self._finished.append(image)
        self._known |= said
        if chunk.usage is not None:
            self._known["usage"] = chunk.usage.model_dump()

    def reply(self) -> ImageReply:
        known = dict(self._known)
        created = known.pop("created_at", 0)
        reply = to_reply({"created": created, **known, "data": self._finished}, [])
        reply._raw = list(self._raw)
        return reply


# Errors.


def from_error(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    return failures.failure(status, headers, body)


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    """Learn nothing: there are no two ways to ask for an image."""
    return None
