"""A conversation at the terminal: answers as they come, rich where it is installed, plain where nobody looks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from modelwrap.errors import CallError, UnsupportedParameter
from modelwrap.models.base import Model
from modelwrap.types import ChatReply, Message, Reply

_FENCE = re.compile(r" {0,3}(```|~~~)")

# What a hostile answer could move the cursor or rename the window with.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

_LONGEST_LINE = 2000

_HELP = "/clear forgets what was said, /exit ends; Ctrl-C stops an answer, Ctrl-D ends"


class Answer(Protocol):
    """Be where an answer is shown while it comes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def write(self, text: str) -> None: ...

    def think(self, text: str) -> None: ...


class PlainAnswer:
    """Write an answer as it is; what the model thinks is left out."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._clean = out.isatty()
        self._last = "\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, BrokenPipeError):
            self._out.write("" if self._last == "\n" else "\n")
            self._out.flush()

    def write(self, text: str) -> None:
        if text:
            self._out.write(printable(text) if self._clean else text)
            self._out.flush()
            self._last = text[-1]

    def think(self, text: str) -> None:
        pass


class RichAnswer:
    """Set an answer as Markdown: finished blocks are printed for good, only the last is drawn anew."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=out), transient=True, refresh_per_second=10)
        self._unfinished = ""
        self._thoughts = ""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()
        self._print(self._unfinished)

    def write(self, text: str) -> None:
        from rich.markdown import Markdown

        if text:
            finished, self._unfinished = finished_blocks(self._unfinished + printable(text))
            self._print(finished)
            self._live.update(Markdown(self._unfinished))

    def think(self, text: str) -> None:
        from rich.text import Text

        if text:
            self._thoughts += printable(text)
            self._live.update(Text("\n".join(self._thoughts.splitlines()[-4:]), style="dim italic"))

    def _print(self, markdown: str) -> None:
        from rich.markdown import Markdown

        if markdown.strip():
            self._live.console.print(Markdown(markdown))


def answer_on(out: TextIO) -> Answer:
    if out.isatty():
        try:
            return RichAnswer(out)
        except ImportError:
            return PlainAnswer(out)
    return PlainAnswer(out)


class Conversation:
    """Ask a model, and remember what was said."""

    def __init__(self, model: Model, parameters: Mapping[str, Any], system: str | None = None) -> None:
        self._model = model
        self._parameters = parameters
        self._beginning: list[Message] = [{"role": "system", "content": system}] if system else []
        self.messages = list(self._beginning)

    def clear(self) -> None:
        self.messages = list(self._beginning)

    def ask(self, prompt: str) -> None:
        """Show the answer to a prompt. What was shown is remembered, also of an answer that broke off."""
        messages = [*self.messages, {"role": "user", "content": prompt}]
        # Not every model takes messages, so a first prompt goes alone.
        asked = messages if len(messages) > 1 else prompt
        shown: list[str] = []
        try:
            with answer_on(sys.stdout) as answer:
                reply = self._streamed(asked, answer, shown) or self._whole(asked, answer, shown)
        finally:
            if any(shown):
                self.messages = [*messages, {"role": "assistant", "content": "".join(shown)}]
        for text in remarks(reply):
            note(text)

    def _streamed(self, asked: str | list[Message], answer: Answer, shown: list[str]) -> Reply | None:
        """Show an answer as it comes; None where the model answers in one piece only."""
        if not self._model.worth_streaming:
            return None
        try:
            with self._model.stream(asked, **self._parameters) as stream:
                for chunk in stream:
                    for choice in chunk.choices[:1]:
                        answer.think(choice.delta.reasoning_content or "")
                    # Remembered first: Ctrl-C may come as soon as a reader has seen it.
                    shown.append(chunk.text)
                    answer.write(chunk.text)
                return stream.reply
        except UnsupportedParameter as error:
            if error.sent:
                raise
            return None

    def _whole(self, asked: str | list[Message], answer: Answer, shown: list[str]) -> Reply:
        reply: Reply = self._model(asked, stream=False, **self._parameters)
        shown.append(reply.text or "")
        answer.write(reply.text or "")
        for line in (*(reply.image_urls or ()), *map(json.dumps, reply.embeddings or ())):
            answer.write(f"{_fitting(line) if sys.stdout.isatty() else line}\n")
        return reply


def converse(conversation: Conversation) -> None:
    """Talk until the end of the input; a failed or interrupted answer ends nothing but itself."""
    note(_HELP)
    while True:
        try:
            if not _take_turn(conversation):
                return
        except KeyboardInterrupt:
            note("stopped")


def _take_turn(conversation: Conversation) -> bool:
    """Read a line and do what it says; False ends the conversation."""
    prompt = _read_line()
    command = "/exit" if prompt is None else prompt.strip()
    if command in ("/exit", "/quit"):
        return False
    if command == "/clear":
        conversation.clear()
    elif re.fullmatch(r"/\w+", command):
        note(f"no command {command}: {_HELP}")
    elif command:
        try:
            conversation.ask(command)
        except CallError as error:
            note(str(error))
    return True


def remarks(reply: Reply) -> list[str]:
    """Say of an answer what its text does not."""
    found = [str(change) for change in reply.meta.changes]
    for choice in reply.choices[:1] if isinstance(reply, ChatReply) else ():
        message = choice.message
        found += [f"the model refused: {message.refusal}"] if message.refusal else []
        for call in message.tool_calls or ():
            found.append(f"the model asks for {call.function.name}({call.function.arguments})")
        if choice.finish_reason == "length":
            found.append("the answer was cut at the limit of tokens")
        elif choice.finish_reason == "content_filter":
            found.append("the provider's filter ended the answer")
    return found or ([] if reply.text or reply.image_urls or reply.embeddings else ["the answer is empty"])


def note(text: str) -> None:
    """Say something beside the answers."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    return text.translate(_CONTROLS)


def finished_blocks(markdown: str) -> tuple[str, str]:
    """Split at the last blank line that stands in no code block."""
    end = position = 0
    fence = ""
    for line in markdown.splitlines(keepends=True):
        position += len(line)
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif mark[1] == fence:
                fence = ""
        elif not line.strip() and line.endswith("\n") and not fence:
            end = position
    return markdown[:end], markdown[end:]


def _fitting(line: str) -> str:
    """Cut what would fill screens: an image that came as bytes, a vector."""
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[:40]}… ({len(line)} characters; send the output to a file to have them all)"


def _read_line() -> str | None:
    """Read a line with the editing that the terminal offers; empty after Ctrl-C, None at the end of the input."""
    try:
        import readline  # noqa: F401  # input() edits lines once this is imported; Windows has its own way
    except ImportError:
        pass
    try:
        if sys.stdout.isatty():
            return input("> ")
        print("> ", end="", file=sys.stderr, flush=True)
        return input()
    except EOFError:
        note("")
        return None
    except KeyboardInterrupt:
        note("")
        return ""
