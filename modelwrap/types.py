"""What calls take and give: OpenAI's shapes, and beside them what only modelwrap knows (`.raw`, `.meta`)."""

from __future__ import annotations

import re
import time
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from modelwrap.errors import ConfigError, InvalidResponse, MissingPackage

JSON: TypeAlias = Any
Message: TypeAlias = dict[str, Any]

ChangeKind = Literal[
    "dropped", "renamed", "emulated", "clamped", "defaulted", "converted", "ignored", "learned", "repaired"
]


@dataclass(frozen=True, slots=True)
class Change:
    """Say one thing that the wire saw otherwise than the caller wrote it, or the caller otherwise than the wire."""

    kind: ChangeKind
    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.kind}" + (f", {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Say what became of one request."""

    endpoint: str
    outcome: str
    """`ok`, or the class name of the error."""
    status: int | None
    seconds: float
    delay: float = 0.0
    """How long was waited before it."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Count tokens by one algebra everywhere: prompt + completion = total, cached ≤ prompt, reasoning ≤ completion."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(slots=True)
class Meta:
    """Hold what modelwrap knows of a reply beside what the provider said."""

    config_name: str = ""
    endpoint: str = ""
    request_id: str | None = None
    finish_reason: str | None = None
    """The provider's own word for why it stopped."""
    usage: TokenUsage | None = None
    history: tuple[Attempt, ...] = ()
    changes: tuple[Change, ...] = ()
    started_at: float = field(default_factory=time.time)
    seconds: float = 0.0
    seconds_to_first_token: float | None = None
    done: bool = True
    """False for a stream that was cut, or that gave its finish reason and then ended without its end mark."""

    @property
    def attempts(self) -> int:
        return len(self.history)


class Wire(BaseModel):
    """Be an object of the wire: OpenAI's fields typed, a vendor's own kept beside them."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    def model_dump(self, *, exclude_unset: bool = True, **options: Any) -> dict[str, Any]:
        """Give the wire's shape: what it did not send is left out unless `exclude_unset=False`."""
        return super().model_dump(exclude_unset=exclude_unset, **options)

    def model_dump_json(self, *, exclude_unset: bool = True, **options: Any) -> str:
        return super().model_dump_json(exclude_unset=exclude_unset, **options)


class FunctionCall(Wire):
    name: str = ""
    arguments: str = ""


class CustomCall(Wire):
    name: str = ""
    input: str = ""


class ToolCall(Wire):
    id: str = ""
    type: str = "function"
    function: FunctionCall = Field(default_factory=FunctionCall)
    custom: CustomCall | None = None


class Audio(Wire):
    id: str = ""
    data: str | None = None
    transcript: str | None = None
    expires_at: int | None = None


class _Reasoned(Wire):
    """Share what a whole message and a delta of one say about reasoning."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    """What the model thought, under whichever name or tag the server sends it."""
    function_call: FunctionCall | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: Audio | None = None

    @model_validator(mode="after")
    def _read_reasoning(self) -> Self:
        # Written past the set of fields that were given, so that a dump keeps the server's own name and shape.
        extra = self.__pydantic_extra__
        if extra and not self.reasoning_content:
            sent = (extra.get("reasoning"), extra.get("reasoning_text"), _details_text(extra.get("reasoning_details")))
            thought = next((text for text in sent if text and isinstance(text, str)), None)
            if thought is not None:
                self.__dict__["reasoning_content"] = thought
        return self


class AssistantMessage(_Reasoned):
    role: str = "assistant"
    tool_calls: list[ToolCall] | None = None


class TopLogprob(Wire):
    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob] | None = None


class Logprobs(Wire):
    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None


class Choice(Wire):
    index: int = 0
    message: AssistantMessage = Field(default_factory=AssistantMessage)
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptTokensDetails(Wire):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    text_tokens: int | None = None


class CompletionTokensDetails(Wire):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    text_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class Usage(Wire):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class Reply(Wire):
    """Be what a call gives, whatever was called; the properties are None where they do not apply."""

    _raw: JSON = PrivateAttr(default=None)
    _meta: Meta = PrivateAttr(default_factory=Meta)

    @property
    def text(self) -> str | None:
        return None

    @property
    def image_urls(self) -> list[str] | None:
        return None

    @property
    def embeddings(self) -> list[list[float]] | None:
        return None

    @property
    def raw(self) -> JSON:
        """The provider's own JSON."""
        return _private(self)["_raw"]

    @property
    def meta(self) -> Meta:
        meta: Meta = _private(self)["_meta"]
        return meta


class ChatReply(Reply):
    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice] = Field(default_factory=list)
    usage: Usage = Field(default_factory=Usage)
    system_fingerprint: str | None = None
    service_tier: str | None = None
    metadata: JSON = None
    """What `store` keeps with the reply; of any shape, for vendors use the name for their own."""
    moderation: JSON = None

    _response_model: type[BaseModel] | None = PrivateAttr(default=None)

    @property
    def text(self) -> str:
        """The first choice's text; empty where it has none."""
        return (self.choices[0].message.content or "") if self.choices else ""

    @property
    def image_urls(self) -> list[str] | None:
        """Where the images of the first choice are; None where it has none."""
        images = (self.choices[0].message.__pydantic_extra__ or {}).get("images") if self.choices else None
        if not isinstance(images, list):
            return None
        held = (image.get("image_url") for image in images if isinstance(image, dict))
        return [inner["url"] for inner in held if isinstance(inner, dict) and isinstance(inner.get("url"), str)]

    @property
    def parsed(self) -> Any:
        """The first choice as an object of the pydantic class that was given as `response_format`.

        None when no class was given or the model refused; `InvalidResponse` when the text is no such object.
        """
        if self._response_model is None or not self.choices or self.choices[0].message.content is None:
            return None
        try:
            return self._response_model.model_validate_json(self.text)
        except ValueError as error:
            reason = self.choices[0].finish_reason
            raise InvalidResponse(
                f"the answer is no {self._response_model.__name__} (finish reason {reason}): {error}",
                model=self.meta.config_name,
                body=self.text,
                partial=self,
            ) from None


class Image(Wire):
    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None

    @property
    def content(self) -> bytes | None:
        """The image itself; None where only its URL came, `InvalidResponse` where its base64 is none."""
        if not self.b64_json:
            return None
        try:
            # Some servers write a `data:` URL there.
            return b64decode(self.b64_json.rpartition(",")[2], validate=True)
        except ValueError:
            raise InvalidResponse("the image that came is no base64") from None

    @property
    def type(self) -> str | None:
        """The media type, told by how base64 of it begins."""
        start = (self.b64_json or "").rpartition(",")[2]
        return next((f"image/{kind}" for begin, kind in _BEGINNINGS.items() if start.startswith(begin)), None)

    def place(self, otherwise: str | None = None) -> str | None:
        """Where the image is: its URL, or a `data:` URL, of the format `otherwise` where its bytes do not tell."""
        if self.url or not self.b64_json:
            return self.url
        if self.b64_json.startswith("data:"):
            return self.b64_json
        kind = self.type or f"image/{otherwise or 'png'}"
        return f"data:{kind};base64,{self.b64_json}"


# What base64 makes of the bytes with which files of these formats begin.
_BEGINNINGS = {
    "/9j/": "jpeg",
    "iVBOR": "png",
    "R0lGOD": "gif",
    "UklGR": "webp",
    "PHN2Zy": "svg+xml",
    "PD94bW": "svg+xml",
}


class ImageReply(Reply):
    created: int = 0
    data: list[Image] = Field(default_factory=list)
    output_format: str | None = None
    usage: Usage = Field(default_factory=Usage)

    @property
    def image_urls(self) -> list[str]:
        """Where the images are; one that came as bytes is a `data:` URL."""
        return [url for url in (image.place(self._format) for image in self.data) if url]

    def save(self, folder: str | PathLike[str], stem: str = "image") -> list[Path]:
        """Write the images into a folder, as `image-1.png` and so on, over no file that is there already.

        `ConfigError` where one came as a URL: nothing is fetched here.
        """
        for image in self.data:
            if image.url and not image.b64_json:
                raise ConfigError(
                    f"{image.url.partition('?')[0]} is not here: images that come as URLs are fetched where the "
                    'config of their model says "fetch_images": true'
                )
        Path(folder).mkdir(parents=True, exist_ok=True)
        return [self._written(Path(folder), stem, image) for image in self.data if image.b64_json]

    def _written(self, folder: Path, stem: str, image: Image) -> Path:
        content = image.content or b""
        kind = (image.type or f"image/{self._format or 'png'}").partition("/")[2].partition("+")[0]
        for path in (folder / f"{stem}-{number}.{kind}" for number in count(1)):
            # Made and opened at once: others may save into the same folder at the same time.
            with suppress(FileExistsError), path.open("xb") as file:
                file.write(content)
                break
        return path

    @property
    def _format(self) -> str | None:
        """The format that the server says, unless what it says cannot end a file's name."""
        said = self.output_format or ""
        return said if re.fullmatch(r"[\w+-]{1,20}", said) else None


class Embedding(Wire):
    index: int = 0
    embedding: list[float] = Field(default_factory=list)


class EmbeddingReply(Reply):
    data: list[Embedding] = Field(default_factory=list)
    model: str = ""
    usage: Usage = Field(default_factory=Usage)

    @property
    def embeddings(self) -> list[list[float]]:
        """The vectors, in the order of the texts."""
        return [item.embedding for item in sorted(self.data, key=lambda item: item.index)]

    def numpy(self) -> Any:
        """Give the vectors as rows of an array of numpy's, in 32-bit floats."""
        try:
            import numpy as np
        except ImportError:
            raise MissingPackage("reply.numpy() needs a package: pip install numpy") from None
        return np.array(self.embeddings, dtype=np.float32)


class FunctionCallDelta(Wire):
    name: str | None = None
    arguments: str | None = None


class CustomCallDelta(Wire):
    name: str | None = None
    input: str | None = None


class ToolCallDelta(Wire):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: FunctionCallDelta | None = None
    custom: CustomCallDelta | None = None


class Delta(_Reasoned):
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(Wire):
    index: int = 0
    delta: Delta = Field(default_factory=Delta)
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatChunk(Wire):
    """Be one piece of a streamed reply."""

    id: str = ""
    object: str = "chat.completion.chunk"
    created: int = 0
    model: str = ""
    choices: list[ChunkChoice] = Field(default_factory=list)
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    moderation: JSON = None
    obfuscation: str | None = None
    """Padding that evens out the sizes of the pieces."""

    _raw: JSON = PrivateAttr(default=None)

    @property
    def text(self) -> str:
        """What this piece adds to the first choice's text."""
        for choice in self.choices:
            if choice.index == 0:
                return choice.delta.content or ""
        return ""

    @property
    def raw(self) -> JSON:
        """The provider's own JSON of this piece."""
        return _private(self)["_raw"]


class ImageChunk(ChatChunk):
    """Be one piece of a stream of images: an image, or what there is of it so far."""

    type: str = ""
    b64_json: str | None = None
    url: str | None = None
    partial_image_index: int | None = None

    @property
    def partial(self) -> bool:
        """Whether the image is not finished yet."""
        return self.type.endswith("partial_image")

    @property
    def image_urls(self) -> list[str]:
        """Where the image is; one that came as bytes is a `data:` URL."""
        url = Image(url=self.url, b64_json=self.b64_json).place()
        return [url] if url else []


def _private(model: BaseModel) -> dict[str, Any]:
    """Give private attributes past pydantic's look-up, which takes fifteen times as long."""
    return model.__pydantic_private__ or {}


def _details_text(details: Any) -> str | None:
    """Read the text of OpenRouter's list of reasoning items."""
    if not isinstance(details, list):
        return None
    texts = [item.get("text") or item.get("summary") for item in details if isinstance(item, dict)]
    return "".join(text for text in texts if isinstance(text, str)) or None


def _begin(made: BaseModel, _: Any, /) -> None:
    """Give a reply or a chunk its private attributes; pydantic's way to do so costs half as much as all the rest."""
    # What inherits from these has pydantic's way in front of this one.
    if type(made) is ChatChunk:
        object.__setattr__(made, "__pydantic_private__", {"_raw": None})
    elif type(made) is ChatReply:
        begun = {"_raw": None, "_meta": Meta(), "_response_model": None}
        object.__setattr__(made, "__pydantic_private__", begun)


# In the classes it would come on top.
ChatChunk.model_post_init = _begin  # type: ignore[method-assign] # see above
ChatReply.model_post_init = _begin  # type: ignore[method-assign] # see above
