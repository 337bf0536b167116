"""From messages to what a model computes: the text that its template makes of them, and the tokens of that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelwrap.errors import BadRequest, ServerFailed, UnsupportedParameter
from modelwrap.local.transformers.hooks import Hook, ModelParts, taken
from modelwrap.local.transformers.images import image_of
from modelwrap.local.transformers.templates import Template, template_of
from modelwrap.types import Message
from modelwrap.wire.media_parts import media_of

# What tokenizers give beside tokens, and no model needs where there is no padding.
_NOT_COMPUTED = frozenset({"input_ids", "attention_mask", "special_tokens_mask", "offset_mapping", "length"})


@dataclass(slots=True)
class Prompt:
    """Be what a model reads."""

    written: Any
    """The text, or tokens where a hook made some."""
    images: list[Any] = field(default_factory=list)
    goes_on: bool = False
    """Whether the answer goes on with the last message."""
    begun: str = ""
    """What of the answer stands in the prompt already."""

    @property
    def text(self) -> str:
        return self.written if isinstance(self.written, str) else ""

    def add(self, text: str) -> None:
        """Write on in the answer's place."""
        if not isinstance(self.written, str):
            raise UnsupportedParameter("tool_choice: cannot be forced where a hook makes the tokens", sent=False)
        self.written += text

    @property
    def thinks(self) -> bool:
        """Whether the answer begins inside of a thought."""
        said = self.begun if self.goes_on else self.text
        return self.text.rstrip().endswith("<think>") or (self.goes_on and _is_open(said))


def _is_open(text: str) -> bool:
    return text.rfind("<think>") > text.rfind("</think>")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Be a prompt in tokens, and what else the model reads with it."""

    ids: list[int]
    inputs: dict[str, Any] = field(default_factory=dict)


class Prompts:
    """Write and encode the prompts of one model."""

    def __init__(self, parts: ModelParts) -> None:
        self._parts = parts
        self._size = _embedded(parts.model)
        # Such a model reads a prompt in both directions, and is told by these which tokens that is.
        self._with_kinds = bool(getattr(getattr(parts.model, "config", None), "prefix_lm", False))
        self.template: Template = template_of(parts)

    def write(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), named: Mapping[str, Any] = {}
    ) -> Prompt:
        """Write messages by the template; `BadRequest` names what this model cannot be told."""
        reading = _Reading(self._parts, self.template, messages)
        goes_on = reading.goes_on
        written = self.template.write(reading.messages, tools, named, goes_on=goes_on)
        if hasattr(written, "keys") and "input_ids" in written:
            written = written["input_ids"]
        if isinstance(written, str):
            readable(written, "messages and tools")
        return Prompt(written, reading.images, goes_on, reading.last_text if goes_on else "")

    def encode(self, prompt: Prompt) -> Encoded:
        """Give the tokens of one prompt."""
        found = self._encoded(prompt)
        self.check(prompt, found.ids)
        return found

    def _encoded(self, prompt: Prompt) -> Encoded:
        if not isinstance(prompt.written, str):
            return Encoded(ids_of(prompt.written))
        if self._parts.encode is None and not prompt.images:
            # Without a tensor, which would only be read back.
            named = {**self._specials(prompt.text), **self._parts.encode_kwargs}
            return encoded(self._parts.tokenizer(prompt.text, **named), with_kinds=self._with_kinds)
        return encoded(self.inputs([prompt]), of_images=bool(prompt.images), with_kinds=self._with_kinds)

    def check(self, prompt: Prompt, ids: Sequence[int]) -> None:
        """Refuse a token that the model knows nothing of: on some devices that breaks whatever is computed there.

        Where there are images, tokens that stand for them may be any numbers.
        """
        if prompt.images or self._size is None or not ids:
            return
        wrong = next((token for token in (max(ids), min(ids)) if not 0 <= token < self._size), None)
        if wrong is not None:
            maker = "apply_chat_template" if not isinstance(prompt.written, str) else "encode"
            hook = getattr(self._parts, maker)
            made = f"the hook {maker} gave" if hook else "the tokenizer gave"
            meant = "" if hook else "; is it that of another model?"
            raise ServerFailed(
                f"{made} the token {wrong}, and {self._parts.model_name} has tokens from 0 to {self._size - 1}{meant}",
                retryable=False,
                sent=False,
            )

    def inputs(self, prompts: Sequence[Prompt]) -> Any:
        """Encode prompts as `generate` takes them: a batch, filled up on the left where they are several."""
        first = prompts[0]
        if not isinstance(first.written, str):
            return {"input_ids": _tensor([ids_of(first.written)])}
        several = len(prompts) > 1
        texts = [prompt.text for prompt in prompts]
        named: dict[str, Any] = {"return_tensors": "pt", **({"padding": True} if several else {})}
        images = {"images": [prompt.images for prompt in prompts]} if first.images else {}
        if self._parts.encode is not None:
            return self._by_hook(self._parts.encode, texts if several else first.text, named, first.images)
        named |= {**self._specials(first.text), **({"padding_side": "left"} if several else {})}
        named |= {**images, **self._parts.encode_kwargs}
        if not images:
            return self._parts.tokenizer(text=texts, **named)
        try:
            return self._parts.processor(text=texts, **named)
        except (ValueError, TypeError, IndexError) as error:
            # Images of a size or a number that it has no way with.
            raise BadRequest(f"messages: the processor of this model refuses them: {error}", sent=False) from error

    def _by_hook(self, encode: Hook, text: Any, named: Mapping[str, Any], images: list[Any]) -> Any:
        given = self._parts.encode_kwargs
        if images:
            named = {**named, "images": images}
        named = taken(encode, named)
        if images and "images" not in named:
            raise BadRequest("messages: the hook that encodes takes no images", sent=False)
        return encode(text, **{**named, **given})

    def _specials(self, text: str) -> dict[str, bool]:
        """Say whether the tokenizer adds its own marks: not where the template wrote them.

        Processors add them unless they stand there, for their templates often leave them out.
        """
        begin = getattr(self._parts.tokenizer, "bos_token", None)
        if not self.template.writes_specials or (self._parts.sees and not (begin and text.startswith(begin))):
            return {}
        return {"add_special_tokens": False}


def encoded(value: Any, *, of_images: bool = False, with_kinds: bool = False) -> Encoded:
    """Read what an encoder gives: tokens alone, or a mapping with whatever belongs to them; a batch of one."""
    if not hasattr(value, "keys"):
        return Encoded(ids_of(value))
    ids = ids_of(value["input_ids"])
    mask = value.get("attention_mask")
    if mask is not None and not of_images:
        ids = [token for token, wanted in zip(ids, ids_of(mask), strict=True) if wanted]
    skipped = _NOT_COMPUTED if of_images else _NOT_COMPUTED | {"token_type_ids"}
    inputs = {name: value[name] for name in value.keys() - skipped if hasattr(value[name], "shape")}
    if with_kinds and len(kinds := ids_of(value.get("token_type_ids", ()))) == len(ids):
        inputs["token_type_ids"] = _tensor([kinds])
    return Encoded(ids, inputs)


def ids_of(value: Any) -> list[int]:
    """Read tokens in any form: a tensor, an array or a list, alone or as a batch of one."""
    rows = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)):
        raise TypeError(f"a hook gave {value!r:.60} in place of tokens")
    if not rows or isinstance(rows[0], (int, float)):
        return [_token(number) for number in rows]
    if len(rows) != 1:
        raise BadRequest(f"messages: one prompt was to be encoded, and {len(rows)} came back", sent=False)
    return ids_of(rows[0])


def _token(number: Any) -> int:
    if isinstance(number, int) or (isinstance(number, float) and number.is_integer()):
        return int(number)
    raise TypeError(f"a hook gave {number!r:.60} in place of a token")


def _embedded(model: Any) -> int | None:
    """Say of how many tokens a model knows anything; None where that cannot be seen."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, TypeError, IndexError):
        return None


def _tensor(ids: list[list[int]]) -> Any:
    import torch

    return torch.tensor(ids, dtype=torch.long)


class _Reading:
    """Make messages into what a template takes."""

    def __init__(self, parts: ModelParts, template: Template, messages: Sequence[Message]) -> None:
        self._parts = parts
        self._template = template
        self.images: list[Any] = []
        self._calls: dict[str, str] = {}
        """The names of the tools that were called, by the calls' ids."""
        self._knows_developer = "developer" in template.source
        has_media = any(isinstance(part, Mapping) and part.get("type") not in _TEXTS for part in _parts(messages))
        self._as_parts = template.takes_parts and (has_media or not template.takes_strings)
        self.messages = [self._message(message, f"messages[{place}]") for place, message in enumerate(messages)]
        self._drop_empty_last()

    @property
    def goes_on(self) -> bool:
        last = self.messages[-1]
        return last["role"] == "assistant" and bool(last.get("content")) and not last.get("tool_calls")

    @property
    def last_text(self) -> str:
        content = self.messages[-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    def _drop_empty_last(self) -> None:
        """Leave out an answer that has not begun: the template invites it anyway."""
        last = self.messages[-1]
        if (
            len(self.messages) > 1
            and last["role"] == "assistant"
            and not (last.get("content") or last.get("tool_calls"))
        ):
            self.messages.pop()

    def _message(self, message: Message, where: str) -> Message:
        read = {name: value for name, value in message.items() if value is not None}
        if read["role"] == "developer" and not self._knows_developer:
            read["role"] = "system"
        if read.get("tool_calls"):
            read["tool_calls"] = [
                self._call(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(read["tool_calls"])
            ]
        if read["role"] == "tool" and "name" not in read and read.get("tool_call_id") in self._calls:
            read["name"] = self._calls[read["tool_call_id"]]
        if "content" not in read and read["role"] != "assistant":
            raise _wrong(f"{where}.content", "is missing")
        if "content" in read:
            read["content"] = self._content(read["content"], f"{where}.content")
        return read

    def _call(self, call: Any, where: str) -> dict[str, Any]:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise _wrong(where, "is no call of a function")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                read = json.loads(arguments) if arguments.strip() else {}
                # Half of a surrogate pair is an escape in the text, and could not be read out of it.
                json.dumps(read, ensure_ascii=False).encode()
                arguments = read
            except (ValueError, RecursionError):
                # Templates that write it as text take what the model wrote, whatever it is.
                pass
        if isinstance(call.get("id"), str):
            self._calls[call["id"]] = function["name"]
        arguments = {} if arguments is None else arguments
        return {"type": "function", **call, "function": {**function, "arguments": arguments}}

    def _content(self, content: Any, where: str) -> Any:
        parts = content if isinstance(content, (list, tuple)) else [content]
        read = [self._part(part, f"{where}[{number}]") for number, part in enumerate(parts)]
        if self._as_parts:
            return read
        for number, part in enumerate(read):
            if part["type"] != "text":
                raise _wrong(f"{where}[{number}]", "the chat template of this model places no images")
        return "".join(part["text"] for part in read)

    def _part(self, part: Any, where: str) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": readable(part, where)}
        if not isinstance(part, Mapping):
            raise _wrong(where, f"is neither text nor a part of a message but {type(part).__name__}")
        if part.get("type") in _TEXTS:
            text = part.get("text", part.get("refusal"))
            if not isinstance(text, str):
                raise _wrong(f"{where}.text", "must be a text")
            return {"type": "text", "text": readable(text, where)}
        return self._image(part, where)

    def _image(self, part: Mapping[str, Any], where: str) -> dict[str, Any]:
        media = media_of(part, where)
        if media is None or media.kind != "image":
            kind = part.get("type") if media is None else media.kind
            raise _wrong(where, f"{kind}: this model is told text{' and images' if self._parts.sees else ''} only")
        if not (self._parts.sees or self._parts.apply_chat_template or self._parts.encode):
            raise _wrong(where, "this model takes no images")
        if not media.base64:
            raise _wrong(where, "the image is not here; give its bytes, a path or a data: URL")
        image = image_of(media.data_url, where)
        self.images.append(image)
        # The library's own templates look at the type only; a hook may want the image itself.
        return {"type": "image", "image": image} if self._parts.apply_chat_template else {"type": "image"}


_TEXTS = ("text", "refusal", "input_text", "output_text")


def _parts(messages: Sequence[Message]) -> list[Any]:
    contents = [message.get("content") for message in messages]
    return [part for content in contents if isinstance(content, (list, tuple)) for part in content]


def readable(text: str, where: str) -> str:
    """Give a text that a tokenizer can read; `where` names another in the error."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(where, "holds half of a surrogate pair, which no tokenizer reads") from None
    return text


def _wrong(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where}: {what}", sent=False)
