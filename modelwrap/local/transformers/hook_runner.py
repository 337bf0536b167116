"""Chats of models that generate by themselves: through hooks, or through an entry that gives whole texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from modelwrap.errors import BadRequest, ConfigError, UnsupportedParameter
from modelwrap.local.transformers.answers import PlainReader
from modelwrap.local.transformers.chats import Chat, Chats
from modelwrap.local.transformers.hooks import ModelParts, taken
from modelwrap.local.transformers.parameters import LIMITS, Defaults, read
from modelwrap.local.transformers.prompts import ids_of
from modelwrap.local.transformers.rows import free_memory
from modelwrap.local.transformers.telling import Answer, HookedText, Limits
from modelwrap.local.transformers.threads import Threads
from modelwrap.local.work import Event, Failed, Finished, Job, Piece
from modelwrap.local.workers import failure

# What `generate` has no place for, and nothing here can do in its stead.
_NOT_TOLD = ("presence_penalty", "frequency_penalty", "logprobs", "response_format", "ignore_eos")
_AS_THEY_ARE = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_DRAWN_BY = frozenset(_AS_THEY_ARE) - {"repetition_penalty"}

_SAYS_NOTHING_OF_ONE = frozenset({"attention_mask", "token_type_ids"})

_ENTRY_TAKES = frozenset({"messages", "temperature", "stop", "stream", "stream_options"})
_ENTRY_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Be a chat that is to be computed, and what those have in common that may be computed with it."""

    number: int
    chat: Any
    alike: Any = None


W = TypeVar("W", bound=_Waiting)


class _WholeAnswers(ABC, Generic[W]):
    """Compute chats that are alike together, and where that fails in halves, each alone in the end."""

    def __init__(self, model_name: str, threads: Threads, batch_size: int) -> None:
        self._name = model_name
        self._threads = threads
        self._size = batch_size
        self._waiting: list[W] = []

    @abstractmethod
    def _answered(self, together: Sequence[W]) -> list[list[Event]]:
        """Give what there is to tell of each."""

    @property
    def room(self) -> int:
        return self._size - len(self._waiting)

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def cancel(self, number: int) -> None:
        self._waiting = [waiting for waiting in self._waiting if waiting.number != number]

    def step(self) -> list[Event]:
        if not self._waiting:
            return []
        first = self._waiting[0]
        together = [
            one for one in self._waiting if one is first or (one.alike is not None and one.alike == first.alike)
        ]
        taken_now = {one.number for one in together}
        self._waiting = [one for one in self._waiting if one.number not in taken_now]
        return self._in_halves(together)

    def share(self, devices: Sequence[str]) -> None:
        self._threads.share(devices)

    def close(self) -> None:
        self._waiting.clear()
        self._threads.give_back()

    def _in_halves(self, together: Sequence[W]) -> list[Event]:
        try:
            return [event for events in self._answered(together) for event in events]
        except torch.AcceleratorError:
            # A device in this state computes nothing any more, for nobody.
            raise
        except Exception as error:  # hooks and entries may raise anything, which is the matter of these chats
            if len(together) == 1:
                return [Failed(together[0].number, failure(error))]
        free_memory()
        middle = len(together) // 2
        return self._in_halves(together[:middle]) + self._in_halves(together[middle:])


class HookRunner(_WholeAnswers[_Waiting]):
    """Have `generate` make whole answers, of one chat at a time or of several alike."""

    def __init__(self, parts: ModelParts, threads: Threads, *, batch_size: int, context: int | None = None) -> None:
        super().__init__(parts.model_name, threads, batch_size)
        if not callable(parts.generate or getattr(parts.model, "generate", None)):
            raise ConfigError(f"model_info: a model of the type {type(parts.model).__name__} needs a generate hook")
        self._parts = parts
        self._chats = Chats(parts, context)

    def begin(self, job: Job) -> None:
        for name in _NOT_TOLD:
            if job.body.get(name) not in (None, False, 0, {"type": "text"}):
                raise _unsupported(name)
        chat = self._chats.read(job)
        if chat.asked.forced:
            raise _unsupported("tool_choice")
        named = self._named(chat, job.body)
        # Chance is one for a whole batch, so a chat with a seed is computed alone.
        alike = None if chat.asked.sampling.seed is not None or chat.prompt.images else sorted(named.items())
        self._waiting.append(_Waiting(job.number, (chat, named), alike))

    @property
    def _function(self) -> Callable[..., Any]:
        function: Callable[..., Any] = self._parts.generate or self._parts.model.generate
        return function

    def _named(self, chat: Chat, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write what a call says in the names that `generate` has for it; those it does not take are refused."""
        sampling = chat.asked.sampling
        said = {name: getattr(sampling, name) for name in _AS_THEY_ARE if body.get(name) is not None}
        if said.keys() & _DRAWN_BY or body.get("do_sample") is not None:
            draws = sampling.temperature > 0
            # The library warns of a temperature that changes nothing.
            said = {name: value for name, value in said.items() if draws or name not in _DRAWN_BY}
            said["do_sample"] = draws
        if body.get("logit_bias"):
            said["sequence_bias"] = {(token,): bias for token, bias in sampling.logit_bias.items()}
        takes = taken(self._function, said)
        for name in said.keys() - takes.keys():
            name = "logit_bias" if name == "sequence_bias" else name
            if name in body:
                raise _unsupported(name)
        limit = next((name for name in LIMITS if body.get(name) is not None), None)
        if limit is not None and not taken(self._function, {"max_new_tokens": 1}):
            raise _unsupported(limit)
        return takes

    def _answered(self, together: Sequence[_Waiting]) -> list[list[Event]]:
        chats = [waiting.chat[0] for waiting in together]
        inputs = self._chats.prompts.inputs([chat.prompt for chat in chats])
        device = getattr(self._parts.model, "device", None)
        if hasattr(inputs, "to") and device is not None:
            inputs = inputs.to(device)
        is_mapping = hasattr(inputs, "keys")
        prompts = _rows(inputs["input_ids"] if is_mapping else inputs)
        if len(prompts) != len(chats):
            raise BadRequest(f"messages: encode made {len(prompts)} prompts of {len(chats)} chats", sent=False)
        counted = not any(isinstance(prompt, str) for prompt in prompts)
        prompts = [[] if isinstance(prompt, str) else ids_of(prompt) for prompt in prompts]
        if self._parts.generate is None:
            for chat, prompt in zip(chats, prompts, strict=True):
                self._chats.prompts.check(chat.prompt, prompt)
        mask = inputs.get("attention_mask") if is_mapping else None
        sizes = list(map(len, prompts)) if mask is None else [sum(ids_of(row)) for row in mask]
        # A hook may hand on what is no token at all, which nobody has counted.
        limits = [self._chats.most_tokens(size or 1, chat.asked) for chat, size in zip(chats, sizes, strict=True)]
        named = {**self._parts.generate_kwargs, **taken(self._function, {"max_new_tokens": max(limits)})}
        if "max_new_tokens" in named:
            # That length is a limit already.
            named.pop("max_length", None)
        named |= together[0].chat[1]
        with _seeded(chats[0].asked.sampling.seed):
            output = self._function(**self._placed(inputs), **named) if is_mapping else self._function(inputs, **named)
        made = output.get("sequences") if isinstance(output, Mapping) else getattr(output, "sequences", output)
        answers = _rows(made)
        if len(answers) != len(chats):
            raise ValueError(f"generate gave {len(answers)} answers for {len(chats)} chats")
        told = zip(chats, answers, prompts, sizes if counted else [None] * len(sizes), limits, strict=True)
        return [self._told(chat, made, prompt, size, most) for chat, made, prompt, size, most in told]

    def _placed(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out of what encodes one chat what says nothing of it, where the function has no place for that."""
        idle = _SAYS_NOTHING_OF_ONE if len(inputs["input_ids"]) == 1 else frozenset[str]()
        without = idle - taken(self._function, inputs).keys()
        return {name: value for name, value in inputs.items() if name not in without}

    def _told(self, chat: Chat, made: Any, before: list[int], size: int | None, most: int) -> list[Event]:
        answer = self._chats.answer(chat, size, most, streams=False, before=before)
        pieces: list[Piece] = []
        if isinstance(made, str):
            pieces = answer.take_text(made, self._count(made))
        else:
            for token in self._readable(self._without_beginning(ids_of(made), before)):
                pieces += answer.take(token)
                if answer.finish_reason is not None:
                    break
            else:
                answer.finish_reason = "stop"
                pieces += answer.end()
        return [*pieces, Finished(chat.number)]

    def _readable(self, tokens: list[int]) -> list[int]:
        """Refuse tokens that the tokenizer would make nothing of."""
        known = max(self._chats.size or 0, 0 if self._parts.tokenizer is None else len(self._parts.tokenizer))
        wrong = next((token for token in tokens if not 0 <= token < known), None)
        if wrong is not None and known and self._parts.decode is None:
            raise ValueError(f"generate gave the token {wrong}, and {self._name} has tokens from 0 to {known - 1}")
        return tokens

    def _without_beginning(self, tokens: list[int], prompt: list[int]) -> list[int]:
        """Leave out what stands in front of the answer: the prompt, or what every answer of a decoder begins with."""
        if getattr(getattr(self._parts.model, "config", None), "is_encoder_decoder", False):
            settings = getattr(self._parts.model, "generation_config", None)
            start = getattr(settings, "decoder_start_token_id", None)
            start = self._parts.model.config.decoder_start_token_id if start is None else start
            return tokens[1:] if tokens[:1] == [start] else tokens
        return tokens[len(prompt) :] if tokens[: len(prompt)] == prompt else tokens

    def _count(self, text: str) -> int | None:
        tokenizer = self._parts.tokenizer
        return None if tokenizer is None else len(tokenizer(text, add_special_tokens=False)["input_ids"])


class EntryRunner(_WholeAnswers[_Waiting]):
    """Have an entry's `inference(batch, temperature)` give the texts of chats that have the same temperature."""

    def __init__(self, entry: Any, threads: Threads, *, batch_size: int) -> None:
        super().__init__(str(getattr(entry, "model_name", None) or type(entry).__name__), threads, batch_size)
        self._entry = entry

    def begin(self, job: Job) -> None:
        for name in sorted(job.body.keys() - _ENTRY_TAKES):
            if job.body[name] is not None:
                raise UnsupportedParameter(f"{name}: an entry takes messages and a temperature only", sent=False)
        asked = read(job.body, Defaults())
        given = job.body.get("temperature")
        temperature = float(_ENTRY_TEMPERATURE if given is None else given)
        messages = [_turn(message, f"messages[{place}]") for place, message in enumerate(job.body["messages"])]
        answer = Answer(
            job.number,
            self._name,
            None,
            Limits(most=2**31, stops=asked.stops),
            HookedText(lambda _: ""),
            PlainReader(),
        )
        self._waiting.append(_Waiting(job.number, (messages, answer), temperature))

    def close(self) -> None:
        super().close()
        deactivate = getattr(self._entry, "deactivate", None)
        if deactivate is not None:
            deactivate()

    def _answered(self, together: Sequence[_Waiting]) -> list[list[Event]]:
        texts = self._entry.inference([waiting.chat[0] for waiting in together], together[0].alike)
        if not isinstance(texts, (list, tuple)) or len(texts) != len(together):
            raise ValueError(f"inference gave {texts!r:.80} for {len(together)} chats")
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise TypeError(f"inference gave {wrong[0]!r:.80} in place of a text")
        return [
            [*waiting.chat[1].take_text(text, None), Finished(waiting.number)]
            for waiting, text in zip(together, texts, strict=True)
        ]


def _turn(message: Mapping[str, Any], where: str) -> dict[str, str]:
    if message["role"] not in ("user", "assistant"):
        raise BadRequest(f"{where}: an entry takes the roles user and assistant, not {message['role']}", sent=False)
    content = message.get("content")
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else part for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"{where}.content: an entry takes text only", sent=False)
    return {"role": message["role"], "content": "".join(map(str, texts))}


def _rows(value: Any) -> list[Any]:
    """Give what there is of each chat: a text, or tokens."""
    if isinstance(value, str):
        return [value]
    rows = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(rows, Sequence) or isinstance(rows, bytes):
        raise TypeError(f"a hook gave {value!r:.60} in place of tokens or a text")
    is_flat = bool(rows) and (isinstance(rows[0], (int, float)) or (hasattr(rows[0], "dim") and rows[0].dim() == 0))
    return [rows] if is_flat else list(rows)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Let chance be what a seed makes of it, and leave it to others as it was."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _unsupported(name: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{name}: a model that generates by its own function cannot be asked for it", sent=False
    )
