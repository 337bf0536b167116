"""What is told of an answer while its tokens come: pieces of a chat in OpenAI's form."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from modelwrap.local.transformers.answers import AnswerReader, Said
from modelwrap.local.transformers.logprobs import Logprob, Logprobs
from modelwrap.local.transformers.text import StopFinder
from modelwrap.local.work import Piece

# So that a worker that is lost takes no more than these with it.
_MOST_UNTOLD = 64


class Text(Protocol):
    """Make text of tokens."""

    def feed(self, number: int) -> str: ...

    def finish(self) -> str: ...


class HookedText:
    """Have a function make the text, of all tokens at once: what it does to a part need not be a part of the whole."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []

    def feed(self, number: int) -> str:
        self._ids.append(number)
        return ""

    def finish(self) -> str:
        return self._decode(self._ids)


@dataclass(frozen=True, slots=True)
class Limits:
    """Say when an answer is over."""

    most: int
    """How many tokens it may have."""
    ends: Collection[int] = ()
    """The tokens that end it."""
    stops: Sequence[str] = ()
    whole: Callable[[], bool] = lambda: False
    """Tells whether it is bound to a form, and nothing can be added to it."""
    closed: bool = False
    """Whether the last token that it may have was not for the model to choose."""


class Answer:
    """Tell one answer: what each token adds, and in the end why it is over and what it cost."""

    def __init__(
        self,
        number: int,
        model_name: str,
        prompt_tokens: int | None,
        limits: Limits,
        text: Text,
        reader: AnswerReader,
        *,
        watch: Text | None = None,
        logprobs: Logprobs | None = None,
        streams: bool = False,
        tells_usage: bool = True,
        only_one_call: bool = False,
    ) -> None:
        """`prompt_tokens` is None where nobody counted them; no usage is told then.

        `watch` finds stops while the text is made, where `text` gives nothing before the end.
        """
        self.number = number
        self.finish_reason: str | None = None
        self._identity = {
            "id": f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model_name,
        }
        self._prompt_tokens = prompt_tokens
        self._limits = limits
        self._text = text
        self._reader = reader
        self._stops = StopFinder(limits.stops)
        self._watch = watch
        self._watched = StopFinder(limits.stops)
        self._logprobs = logprobs
        self._streams = streams
        self._tells_usage = tells_usage
        self._only_one_call = only_one_call
        self._made = 0
        self._fed = 0
        """How many characters came of its tokens."""
        self._passed = 0
        """How many of them stand in front of a stop."""
        self._calls = 0
        self._unreported: list[int] = []
        self._held: list[Said] = []
        """What was said and not told, because it is wanted whole."""
        self._begun = False

    def again(self, number: int) -> None:
        """Take a token that was made before, of which the caller of a stream was told what there was to tell."""
        said = self._take(number, None)
        if self._streams:
            self._begun = self._begun or bool(said)
            self._calls += len(said.calls)
        else:
            self._held.append(said)

    def take(self, number: int, logprob: Logprob | None = None) -> list[Piece]:
        """Take the next token."""
        self._unreported.append(number)
        said = self._take(number, logprob)
        if self.finish_reason is not None:
            return self.end(said)
        if said and self._streams:
            return [self._piece(said)]
        if said:
            self._held.append(said)
        # How probable tokens were cannot be made up again: an answer that tells it in the end begins anew.
        if len(self._unreported) >= _MOST_UNTOLD and (self._streams or self._logprobs is None):
            return [Piece(self.number, {}, self._reported())]
        return []

    def take_text(self, text: str, tokens: int | None) -> list[Piece]:
        """Take the whole text, which is of so many tokens if anybody counted them, and tell it."""
        if tokens is None:
            self._tells_usage = False
        else:
            self._made = tokens
        self._text = HookedText(lambda _: text)
        self.finish_reason = "stop"
        return self.end()

    def end(self, said: Said | None = None) -> list[Piece]:
        """Tell what is left, and that it is over."""
        held = [*self._held, said or Said(), self._reader.feed(self._rest()), self._reader.finish()]
        said = Said.joined(held)
        if said.calls and self.finish_reason == "stop":
            self.finish_reason = "tool_calls"
        last = self._piece(said, self.finish_reason)
        if not self._tells_usage or self._prompt_tokens is None:
            return [last]
        usage = {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._made,
            "total_tokens": self._prompt_tokens + self._made,
        }
        if not self._streams:
            last.data["usage"] = usage
            return [last]
        return [last, Piece(self.number, {**self._identity, "choices": [], "usage": usage})]

    def _take(self, number: int, logprob: Logprob | None) -> Said:
        self._made += 1
        if number in self._limits.ends:
            cut = self._limits.closed and self._made >= self._limits.most
            self.finish_reason = "length" if cut else "stop"
            return Said()
        if self._logprobs is not None and logprob is not None:
            self._logprobs.note(number, logprob, self._fed)
        passed = self._pass(self._text.feed(number))
        if self._watch is not None:
            self._watched.feed(self._watch.feed(number))
        if self._stops.found or self._watched.found or self._limits.whole():
            self.finish_reason = "stop"
        elif self._made >= self._limits.most:
            self.finish_reason = "length"
        return self._reader.feed(passed) if passed else Said()

    def _pass(self, text: str) -> str:
        if not text:
            return ""
        passed = self._stops.feed(text)
        self._fed += len(text)
        self._passed += len(passed)
        return passed

    def _rest(self) -> str:
        """Give what is left of the text when no token follows."""
        passed = self._pass(self._text.finish())
        held = self._stops.finish()
        self._passed += len(held)
        return passed + held

    def _piece(self, said: Said, finish_reason: str | None = None) -> Piece:
        choice: dict[str, Any] = {"index": 0, "delta": self._delta(said), "finish_reason": finish_reason}
        if self._logprobs is not None:
            told = self._logprobs.told(None if finish_reason and not self._stops.found else self._passed)
            choice["logprobs"] = {"content": told, "refusal": None}
        return Piece(self.number, {**self._identity, "choices": [choice]}, self._reported())

    def _delta(self, said: Said) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant", "content": None if said.calls else ""}
        if said.content:
            delta["content"] = said.content
        if said.reasoning:
            delta["reasoning_content"] = said.reasoning
        calls = said.calls[: max(0, 1 - self._calls)] if self._only_one_call else said.calls
        if calls:
            delta["tool_calls"] = [call.as_json(self._calls + place) for place, call in enumerate(calls)]
            self._calls += len(calls)
        return delta

    def _reported(self) -> tuple[int, ...]:
        reported = tuple(self._unreported)
        self._unreported.clear()
        return reported
