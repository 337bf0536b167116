"""OpenAI's image models, and every server of their format: words in, or words and images, and images out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

from pydantic import Field

from modelwrap.capabilities import Traits
from modelwrap.config import ModelConfig
from modelwrap.errors import CallError
from modelwrap.media import content_part
from modelwrap.models.attempts import sent_once
from modelwrap.models.call import Call, Chunks
from modelwrap.models.messages import messages_from
from modelwrap.models.openai import HostedByOpenAI, OpenAIModel
from modelwrap.models.remote_media import Fetching, FetchingConfig, fetched
from modelwrap.runtime.base import Runtime
from modelwrap.types import Change, Image, ImageReply, Message, Reply
from modelwrap.wire import openai_image
from modelwrap.wire.http import HttpRequest, WireCall
from modelwrap.wire.media_parts import Media, media_of, wrong
from modelwrap.wire.openai_image import IMAGE_PARAMETERS, Asked, ImageAssembly
from modelwrap.wire.repair import tell


class ImageArgs(FetchingConfig):
    """Say what becomes of images that cost money, and of those that come as URLs."""

    retry_images: bool = Field(
        default=False,
        description="Whether a request whose answer never came may be sent again: an image that was made is paid for. "
        "Refusals are tried again anyway.",
    )
    fetch_images: bool = Field(
        default=False,
        description="Whether images that come as URLs are fetched at once, as `media` says; otherwise the URLs are "
        "left to you.",
    )


class OpenAIDallEConfig(HostedByOpenAI, ImageArgs):
    pass


class OpenAIDallE(OpenAIModel):
    """Make images of words, edit images by words, or vary them; `reply.save(folder)` writes them to files.

    `reply.image_urls` has them, as `data:` URLs where they came as bytes.
    """

    Config: ClassVar[type[HostedByOpenAI]] = OpenAIDallEConfig
    codec = openai_image
    largest_event = openai_image.LARGEST_ANSWER
    # Many servers of this format do not stream.
    worth_streaming = False
    retry_images: bool = False
    fetching: Fetching | None = None

    def configure(self, config: ModelConfig) -> None:
        super().configure(config)
        if isinstance(config, ImageArgs):
            self.retry_images = config.retry_images
            self.fetching = Fetching(config.media, self.endpoint.connection) if config.fetch_images else None

    async def to_input(self, call: Call, runtime: Runtime) -> Asked:
        if isinstance(call.input, str) and not call.parameters.keys() & set(IMAGE_PARAMETERS):
            return Asked(call.input)
        # Images may be files, and reading those may block.
        return await runtime.run(read_asked, call)

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        with sent_once(replayable=self.retry_images):
            reply = await super().complete(call, runtime)
        if self.fetching is not None:
            await self._fetch(cast("ImageReply", reply), call, runtime, self.fetching)
        return reply

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        call.assembly = ImageAssembly()
        with sent_once(replayable=self.retry_images):
            return await super().open(call, runtime)

    def _request(self, wire: WireCall, call: Call, traits: Traits) -> HttpRequest:
        return replace(super()._request(wire, call, traits), replayable=self.retry_images)

    async def _fetch(self, reply: ImageReply, call: Call, runtime: Runtime, fetching: Fetching) -> None:
        """Put images in the place of their URLs; one that cannot be had keeps its URL, for it was made and is there."""

        async def fetch(numbered: tuple[int, Image]) -> None:
            number, image = numbered
            try:
                media = await fetched(Media("image", url=image.url or ""), f"data[{number}]", call, runtime, fetching)
            except CallError as error:
                tell(call.changes, Change("ignored", "fetch_images", error.message))
            else:
                image.b64_json = base64.b64encode(media.data).decode("ascii")

        await runtime.each(fetch, [(number, image) for number, image in enumerate(reply.data) if not image.b64_json])


def read_asked(call: Call) -> Asked:
    """Read what a call wants to see: the user's last message, and the images among its parameters."""
    message, where = _last_message(call)
    prompt, images = _parts_of(message, where)
    given = {
        name: _images(call.parameters[name], name, call)
        for name in IMAGE_PARAMETERS
        if call.parameters.get(name) is not None
    }
    for name, found in given.items():
        if name != "image" and len(found) != 1:
            raise wrong(name, f"is one image, not {len(found)}")
    beside = tuple((name, found[0]) for name, found in given.items() if name != "image")
    in_list = not images and isinstance(call.parameters.get("image"), (list, tuple))
    return Asked(prompt, (*images, *given.get("image", ())), beside, in_list)


def _last_message(call: Call) -> tuple[Message, str]:
    """Give the last message of a user, or of anyone where no user says anything, and where it stands."""
    if call.input is None:
        return {"role": "user", "content": ""}, ""
    messages = messages_from(call.input, call.lasting)
    if len(messages) > 1:
        tell(call.lasting, Change("ignored", "messages", "an image is made of the user's last message alone"))
    places = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    place = places[-1] if places else len(messages) - 1
    return messages[place], f"messages[{place}].content"


def _parts_of(message: Message, where: str) -> tuple[str, list[Media]]:
    content = message.get("content") or ""
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part["text"] for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str)]
    others = [(place, part) for place, part in enumerate(parts) if part.get("type") != "text"]
    return "\n".join(texts), [_image(part, f"{where}[{place}]") for place, part in others]


def _images(given: Any, name: str, call: Call) -> list[Media]:
    """Read a parameter that holds an image, or several."""
    several = given if isinstance(given, (list, tuple)) else [given]
    found = []
    for place, item in enumerate(several):
        where = f"{name}[{place}]" if len(several) > 1 else name
        part = {"type": "image_url", "image_url": {"url": item}} if isinstance(item, str) else item
        found.append(_image(content_part(part, where, call.lasting), where))
    return found


def _image(part: Any, where: str) -> Media:
    media = media_of(part, where) if isinstance(part, Mapping) else None
    is_elsewhere = media is not None and bool(media.file_id or "://" in media.url)
    if media is None or not ((media.kind == "image" and media.base64) or is_elsewhere):
        raise wrong(where, "must be an image: a pathlib.Path, bytes, a PIL image or a URL")
    return media
