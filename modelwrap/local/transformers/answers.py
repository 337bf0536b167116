"""What of a model's text is said, what is thought, and what calls tools: told while the text comes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelwrap.local.transformers.call_texts import ToolCall, Tools, arguments_of, call_of
from modelwrap.local.transformers.text import Marks
from modelwrap.local.transformers.tool_calls import HARMONY, Form, form_of


@dataclass(slots=True)
class Said:
    """Be what a piece of a text adds to an answer."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning or self.calls)

    def __add__(self, other: Said) -> Said:
        return Said.joined([self, other])

    @classmethod
    def joined(cls, parts: Sequence[Said]) -> Said:
        """Put together what was said one after the other."""
        return cls(
            "".join(part.content for part in parts),
            "".join(part.reasoning for part in parts),
            [call for part in parts for call in part.calls],
        )


class AnswerReader(Protocol):
    """Read the text of one answer."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that it has to see, also where they are special tokens."""

    def feed(self, text: str) -> Said:
        """Tell what this piece adds, as far as it is certain."""

    def finish(self) -> Said:
        """Tell what was held back."""


_THINK = ("<think>", "</think>")
# The marks of families that have others, where both stand in the template.
_OTHER_THINK = (
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)


class PlainReader:
    """Take all text as said; `opening` is what the prompt began of it."""

    marks = _THINK

    def __init__(self, opening: str = "") -> None:
        self._opening = opening

    def feed(self, text: str) -> Said:
        text, self._opening = self._opening + text, ""
        return Said(text)

    def finish(self) -> Said:
        return Said()


class CallReader:
    """Hold back what may be calls, and tell in the end what they are: calls, or text that only looked like it."""

    def __init__(self, form: Form, tools: Tools) -> None:
        self.marks = form.marks
        self._form = form
        self._tools = tools
        self._markers = Marks(form.markers)
        self._pending = ""
        self._begun = False
        """Whether anything but space came."""
        self._told = False
        self._leads = False
        """Whether the text began as one that is nothing but calls."""
        self._inside: list[str] = []
        """All that came since a call seemed to begin."""

    def feed(self, text: str) -> Said:
        if self._inside:
            self._inside.append(text)
            return Said()
        text = self._pending + text
        told = self._certain(text)
        self._pending = text[len(told) :]
        self._told = self._told or bool(told)
        return Said(told)

    def finish(self) -> Said:
        text = self._pending + "".join(self._inside)
        if not self._inside:
            return Said(text)
        read = self._form.read(text.strip(), self._tools)
        if self._leads and not all(call.name in self._tools for call in read.calls):
            return Said(text)
        if not read.calls:
            return Said(text)
        space = text[: len(text) - len(text.lstrip())] if self._told and read.rest else ""
        return Said(space + read.rest, calls=read.calls)

    def _certain(self, text: str) -> str:
        """Give what of a text no call begins with; space in front of one is not told either."""
        start = text.strip()
        if not self._begun and start:
            self._begun = True
            self._leads = bool(self._form.leading) and start.startswith(self._form.leading)
        place = 0 if self._leads else self._markers.find(text)
        if place is not None:
            self._inside.append("")
        else:
            place = len(text) - self._markers.begun(text)
        return text[:place].rstrip()


class ThoughtReader:
    """Tell the thought with which an answer begins, and have another reader read the rest.

    What looks like a call in a thought is none, unless the thought never ends. `<think>` stays in the text, for
    whoever reads chats knows it; other marks do not.
    """

    def __init__(
        self, reader: AnswerReader, markers: Sequence[str], opening: str = "", marks: tuple[str, str] = _THINK
    ) -> None:
        self.marks = (*marks, *reader.marks)
        self._begin, self._end = marks
        self._stays = marks == _THINK
        self._reader = reader
        self._halts = Marks([self._end, *markers])
        self._pending = opening
        self._thinks: bool | None = None
        """None before it is known."""

    def feed(self, text: str) -> Said:
        if self._thinks is False:
            return self._reader.feed(text)
        searched = len(self._pending)
        self._pending += text
        start = self._pending.lstrip()
        if self._thinks is None and self._begin.startswith(start):
            return Said()
        if self._thinks is None:
            self._thinks, searched = start.startswith(self._begin), 0
            if self._thinks and not self._stays:
                self._pending = start.removeprefix(self._begin)
        if not self._thinks:
            return self._go_on(0)
        end = self._pending.find(self._end, max(0, searched - len(self._end)))
        return self._go_on(end + len(self._end)) if end >= 0 else self._thought()

    def finish(self) -> Said:
        said = self._reader.feed(self._pending) + self._reader.finish()
        return self._as_thought(said.content) + Said(calls=said.calls) if self._thinks else said

    def _go_on(self, place: int) -> Said:
        """Leave what follows a place to the other reader."""
        self._thinks = False
        thought, rest, self._pending = self._pending[:place], self._pending[place:], ""
        return self._as_thought(thought) + self._reader.feed(rest)

    def _as_thought(self, text: str) -> Said:
        return Said(text) if self._stays else Said(reasoning=text.removesuffix(self._end))

    def _thought(self) -> Said:
        """Tell a thought up to what might be a call, or the end of it."""
        place = self._halts.find(self._pending)
        if place is None:
            place = len(self._pending) - self._halts.begun(self._pending)
        told, self._pending = self._pending[:place], self._pending[place:]
        return self._as_thought(told)


class ForcedReader:
    """Read a call that the answer was bound to be; `name` where the text holds its arguments only."""

    marks: tuple[str, ...] = ()

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._pieces: list[str] = []

    def feed(self, text: str) -> Said:
        self._pieces.append(text)
        return Said()

    def finish(self) -> Said:
        text = "".join(self._pieces)
        call = arguments_of(self._name, text) if self._name else call_of(text)
        return Said(calls=[call]) if call else Said(text)


class HarmonyReader:
    """Read the channels of gpt-oss: https://cookbook.openai.com/articles/openai-harmony."""

    marks = HARMONY.marks

    def __init__(self) -> None:
        self._pending = ""
        self._header: list[str] = []
        self._channel: str | None = None
        """Where the text goes; None inside of a header."""
        self._name = ""
        self._arguments: list[str] = []
        self._spoken = False
        """Whether there was a message."""

    def feed(self, text: str) -> Said:
        self._pending += text
        said = Said()
        while found := _MARK.search(self._pending):
            said += self._take(self._pending[: found.start()])
            self._pending = self._pending[found.end() :]
            said += self._turn(found[1])
        told = self._pending[: len(self._pending) - _MARKS.begun(self._pending)]
        self._pending = self._pending[len(told) :]
        return said + self._take(told)

    def finish(self) -> Said:
        rest, self._pending = self._pending, ""
        said = self._take(rest) + self._close()
        return said if self._spoken else said + Said("".join(self._header))

    def _take(self, text: str) -> Said:
        if self._channel is None:
            self._header.append(text)
        elif self._name:
            self._arguments.append(text)
        elif self._channel == "analysis":
            return Said(reasoning=text)
        else:
            return Said(text)
        return Said()

    def _turn(self, mark: str) -> Said:
        said = Said()
        if mark == "message":
            self._spoken = True
            header = "".join(self._header)
            recipient = _RECIPIENT.search(header)
            channel = _CHANNEL.search(header)
            self._channel = channel[1] if channel else "final"
            self._name = recipient[1] if recipient else ""
        elif mark in ("start", "end", "call", "return"):
            said = self._close()
            self._channel, self._name, self._header = None, "", []
        else:
            self._header.append(f"<|{mark}|>")
        return said

    def _close(self) -> Said:
        """End a message; a call that is none is told as it was written."""
        text = "".join(self._arguments)
        self._arguments = []
        if not self._name:
            return Said()
        call = arguments_of(self._name, text)
        return Said(calls=[call]) if call else Said(text)


_MARK = re.compile(r"<\|(start|channel|constrain|message|end|call|return)\|>")
_MARKS = Marks(HARMONY.marks)
_RECIPIENT = re.compile(r"\bto=functions\.([\w-]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class TemplateReader:
    """Read an answer by the description that the model's own tokenizer brings along.

    `parser` is what `get_response_parser` of transformers gives. It wants to see every special token.
    """

    marks: tuple[str, ...] = ()

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._raw: list[str] = []
        """What a region holds that is told when it is closed."""
        self._failed = False

    def feed(self, text: str) -> Said:
        if self._failed:
            return Said(text)
        try:
            events = self._parser.feed(text)
        except ValueError:
            return self._as_text(text)
        return self._read(events)

    def finish(self) -> Said:
        if self._failed:
            return Said()
        try:
            _, events = self._parser.finalize()
        except ValueError:
            return self._as_text("")
        return self._read(events)

    def _read(self, events: list[Mapping[str, Any]]) -> Said:
        said = Said()
        for event in events:
            if event["type"] == "region_chunk":
                said += self._told(event)
            elif event["type"] == "region_close":
                said += self._closed(event)
        return said

    def _told(self, event: Mapping[str, Any]) -> Said:
        if event["field"] == "content":
            return Said(event["text"])
        if event["field"] in _REASONING:
            return Said(reasoning=event["text"])
        self._raw.append(event["text"])
        return Said()

    def _closed(self, event: Mapping[str, Any]) -> Said:
        raw, self._raw = "".join(self._raw), []
        if event["field"] != "tool_calls":
            return Said(raw)
        value = event["value"]
        calls = [call_of(item) for item in (value if isinstance(value, list) else [value])]
        whole = [call for call in calls if call is not None]
        return Said(calls=whole) if whole and len(whole) == len(calls) else Said(raw)

    def _as_text(self, text: str) -> Said:
        """Tell as text what cannot be read; nothing is lost."""
        self._failed = True
        return Said("".join(self._raw) + text)


_REASONING = frozenset({"thinking", "reasoning", "reasoning_content"})


def reader_of(template: str, tools: Tools, opening: str = "") -> AnswerReader:
    """Choose by a chat template how the answers of its model are read."""
    form = form_of(template)
    if form is HARMONY:
        return HarmonyReader()
    marks = next((marks for marks in _OTHER_THINK if all(mark in template for mark in marks)), _THINK)
    if tools:
        return ThoughtReader(CallReader(form, tools), form.markers, opening, marks)
    return PlainReader(opening) if marks == _THINK else ThoughtReader(PlainReader(), (), opening, marks)
