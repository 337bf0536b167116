"""The JSON of a Gemini stream made into chunks; what is known only at its end comes in one closing chunk."""

from __future__ import annotations

from typing import Any

from modelwrap.errors import CallError, InvalidResponse
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire import gemini_replies as replies
from modelwrap.wire.assembly import MOST_CHOICES, Assembly
from modelwrap.wire.gemini_candidates import CandidateReader, candidates_of, index_of, parts_of, token_of
from modelwrap.wire.gemini_tools import function_name
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import validated
from modelwrap.wire.turns import given_names

_IDENTITY = frozenset({"id", "model"})


class StreamReader:
    """Read the pieces of one stream."""

    def __init__(self, call: WireCall, platform: str = "") -> None:
        self._names = given_names(call, function_name)
        self._platform = platform
        self._changes = call.changes
        self._candidates: dict[int, CandidateReader] = {}
        self._identity: dict[str, Any] = {}
        self._usage: Any = None
        self._usage_before: Any = None
        self._held: list[ChatChunk] = []
        self.began = call.resumes is not None
        """Whether a chunk was given."""
        if call.resumes is not None:
            self._resume(call.resumes)

    def _resume(self, paused: dict[str, Any]) -> None:
        self._identity = replies.identity(paused)
        self._usage_before = paused.get("usageMetadata")
        for candidate in candidates_of(paused):
            reader = self._candidates[candidate["index"]] = CandidateReader(
                candidate["index"], self._names, self._platform
            )
            reader.resume(candidate, self._identity.get("id", ""))

    @property
    def complete(self) -> bool:
        """Whether every candidate that came said why it ended."""
        return bool(self._candidates) and all(candidate.native for candidate in self._candidates.values())

    @property
    def failure(self) -> CallError | None:
        """The error that the answer ended with, where no candidate ended well."""
        failures = [candidate.failure for candidate in self._candidates.values()]
        return failures[0] if failures and all(failures) else None

    @property
    def paused(self) -> dict[str, Any] | None:
        """The answer so far, where Gemini waits to be asked to go on with it."""
        if not any(candidate.native == replies.PAUSED for candidate in self._candidates.values()):
            return None
        candidates = [candidate.raw for _, candidate in sorted(self._candidates.items())]
        named = {"responseId": self._identity.get("id"), "modelVersion": self._identity.get("model")}
        paused = {**named, "candidates": candidates, "usageMetadata": self._total}
        return paused if token_of(paused) else None

    @property
    def _total(self) -> Any:
        return replies.summed(self._usage_before, self._usage)

    def read(self, data: dict[str, Any]) -> list[ChatChunk]:
        """Read one piece; those before the first that says anything are held back, for the answer may yet be none."""
        self._held.append(self._chunk(data))
        return self.held() if self.began or _says_something(data) else []

    def held(self) -> list[ChatChunk]:
        """Give what was held back."""
        held, self._held = self._held, []
        self.began = self.began or bool(held)
        return held

    def unsaid(self) -> ChatReply | None:
        """Give as a reply what was held back of an answer that is none."""
        if not self._held:
            return None
        assembly = Assembly()
        for chunk in (*self._held, self.closing()):
            assembly.add(chunk)
        return assembly.reply()

    def _chunk(self, data: dict[str, Any]) -> ChatChunk:
        counted = data.get("usageMetadata")
        # One without counts is one, too, where no piece had any.
        self._usage = counted or self._usage or counted
        if not self._identity.keys() >= _IDENTITY:
            self._identity = {**replies.identity(data), **self._identity}
        seed = self._identity.get("id", "")
        choices = [
            self._choice(candidate, index_of(candidate, position), seed)
            for position, candidate in enumerate(candidates_of(data))
        ]
        chunk = validated(ChatChunk, {**self._identity, "choices": choices}, self._changes)
        chunk._raw = data
        return chunk

    def closing(self) -> ChatChunk:
        """Give what was held back: reasons, usage, and what has no place in a piece."""
        seed = self._identity.get("id", "")
        choices = []
        for index, candidate in sorted(self._candidates.items()):
            delta: dict[str, Any] = {}
            beside = candidate.close(delta, seed)
            choices.append({"index": index, "delta": delta, **beside})
        data: dict[str, Any] = {**self._identity, "choices": choices}
        data.update(replies.cost(self._total))
        chunk = validated(ChatChunk, data, self._changes)
        # Nothing came with it.
        chunk._raw = []
        return chunk

    def whole(self) -> ChatReply:
        """Give what was said, as a reply without its particulars."""
        choices = [candidate.outline for _, candidate in sorted(self._candidates.items())]
        return ChatReply.model_validate({"choices": choices})

    def _choice(self, candidate: dict[str, Any], index: int, seed: str) -> dict[str, Any]:
        reader = self._candidates.get(index)
        first = reader is None
        if reader is None:
            if len(self._candidates) >= MOST_CHOICES:
                raise InvalidResponse(f"the stream has more than {MOST_CHOICES} candidates")
            reader = self._candidates[index] = CandidateReader(index, self._names, self._platform)
        delta = reader.read(candidate, seed)
        choice: dict[str, Any] = {"index": index, "delta": {"role": "assistant", **delta} if first else delta}
        if "logprobsResult" in candidate and (found := replies.logprobs(candidate)):
            choice["logprobs"] = found
        return choice


def _says_something(data: dict[str, Any]) -> bool:
    return any(part != {"text": ""} for candidate in candidates_of(data) for part in parts_of(candidate))
