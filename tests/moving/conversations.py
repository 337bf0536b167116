"""Conversations of six turns and more, told of no provider: what is asked, and what the model then says."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.moving.answers import PNG, Says

Message = dict[str, Any]

PDF = base64.b64encode(b"%PDF-1.4 x").decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"x" * 12).decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
PHOTO = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{JPEG}", "detail": "high"}}
PAPER = {"type": "file", "file": {"filename": "rivers.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}

Asks = Callable[[Sequence[str]], list[Message]]
"""What is asked in a turn, by the ids of the calls that the last answer made."""


@dataclass(frozen=True)
class Conversation:
    turns: tuple[tuple[Asks, Says], ...]
    tools: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        tools = [{"type": "function", "function": {"name": name, "parameters": _ANYTHING}} for name in self.tools]
        return {"max_tokens": 2000, **({"tools": tools} if tools else {}), **self.extra}


_ANYTHING = {"type": "object", "properties": {"city": {"type": "string"}}}


def user(content: Any, **beside: Any) -> Asks:
    return lambda calls: [{"role": "user", "content": content, **beside}]


def text(words: str, **beside: Any) -> Message:
    return {"type": "text", "text": words, **beside}


def results(*contents: Any, backwards: bool = False, then: Asks | None = None) -> Asks:
    """Answer the calls of the last turn; a tuple is a failure."""

    def asks(calls: Sequence[str]) -> list[Message]:
        assert len(calls) == len(contents)
        written = [_result(call, content) for call, content in zip(calls, contents, strict=True)]
        return [*(written[::-1] if backwards else written), *(then(calls) if then else ())]

    return asks


def _result(call: str, content: Any) -> Message:
    failed = isinstance(content, tuple)
    said = list(content) if failed and not isinstance(content[0], str) else content[0] if failed else content
    return {"role": "tool", "tool_call_id": call, "content": said, **({"is_error": True} if failed else {})}


def also(*messages: Message) -> Asks:
    return lambda calls: list(messages)


def system(words: str, role: str = "system") -> Message:
    return {"role": role, "content": words}


def calls(*named: tuple[str, str], words: str = "", **beside: Any) -> Says:
    return Says(words, calls=named, **beside)


ROME, OSLO, CITY = '{"city": "Rome"}', '{"city":"Oslo"}', '{"city": "北京 🏔", "n": 1.50, "big": 12345678901234567890}'
LONG = "look_up_the_weather_of_a_city_by_its_name_and_by_nothing_else_but_its_name_if_you_please"

CONVERSATIONS = {
    "parallel calls": Conversation(
        (
            (also(system("Be brief."), {"role": "user", "content": "Weather?"}), Says("Where?")),
            (user("Rome and Oslo."), calls(("weather", ROME), ("weather", OSLO), ("now", "{}"), words="I look.")),
            (results("Sun.", "Snow.", "noon", backwards=True), Says("Sun in Rome, snow in Oslo.")),
            (user("Again."), calls(("weather", ROME), ("weather", ROME))),
            (results("Rain.", ("No net.",)), calls(("weather", OSLO))),
            (results('{"celsius": -7}', then=user("And?")), Says("Minus seven.")),
            (user("Thanks."), Says("Welcome.")),
        ),
        tools=("weather", "now"),
    ),
    "odd names": Conversation(
        (
            (user("Go."), calls(("get.weather", ROME), ("get_weather", OSLO))),
            (results("Sun.", "Snow."), calls(("fluß länge", "{}"), (LONG, ROME))),
            (results("1233 km", "Sun."), calls(("7th tool", CITY))),
            (results("[1, 2]"), Says("Done.")),
            (user("More."), calls(("get.weather", ROME), ("get weather", ROME))),
            (results("a", "b"), calls((LONG, "{}"))),
            (results("c"), Says("All.")),
        ),
        tools=("get.weather", "get_weather", "get weather", "fluß länge", LONG, "7th tool"),
    ),
    "arguments": Conversation(
        (
            (user("Go."), calls(("now", ""))),
            (results(""), calls(("weather", '{"city": '), ("weather", CITY))),
            (results(("error: the arguments are no JSON",), None), calls(("weather", '["Rome"]'))),
            (results([]), calls(("weather", '{"city": {"name": ["Rome", null, true]}}'))),
            (results([text("a"), text("b")]), Says("Done.")),
            (user("Once more."), calls(("now", " "))),
            (results("é\u2028\x07"), Says("Noon.")),
        ),
        tools=("weather", "now"),
    ),
    "pictures": Conversation(
        (
            (user([text("What is it?"), PICTURE]), Says("A dot.")),
            (user("Draw it."), calls(("draw", "{}"), ("draw", '{"big": true}'))),
            (results([text("Look:"), PICTURE], [PICTURE]), Says("Drawn.")),
            (user([PAPER, text("Sum up."), PHOTO]), Says("Rivers.")),
            (user("Draw more."), calls(("draw", "{}"), ("draw", "{}"))),
            (results([text("A paper:"), PAPER], "Ink."), Says("Half.")),
            (user("Try."), calls(("draw", "{}"))),
            (results((text("No ink."), PICTURE), then=user("Well?")), Says("No ink.")),
        ),
        tools=("draw",),
    ),
    "thinking": Conversation(
        (
            (user("Think."), Says("So.", thought="Hm")),
            (user("Look."), calls(("weather", ROME), ("weather", OSLO), words="I look.", thought="Well")),
            (results("Sun.", "Snow."), calls(("now", "{}"), thought="Now what", hidden=True)),
            (results("noon"), Says("Noon.", thought="Ah", hidden=True)),
            (user("And?"), Says("", thought="Nothing to say")),
            (user("Say it."), Says("It.")),
            (user("Look again."), calls(("weather", ROME), thought="Again")),
            (results("Rain."), Says("Rain.", thought="Oh")),
        ),
        tools=("weather", "now"),
    ),
    "ids": Conversation(
        (
            (user("Go."), calls(("weather", ROME), ("weather", OSLO), ids="counted")),
            (results("a", "b"), calls(("weather", ROME), ("now", "{}"), ids="counted")),
            (results("c", "d", backwards=True), calls(("weather", ROME), ids="odd")),
            (results("e"), calls(("weather", OSLO), ("weather", ROME), ids="long")),
            (results("f", "g"), calls(("weather", ROME), ids="none")),
            (results("h"), calls(("now", "{}"), ("now", "{}"), ids="none")),
            (results("i", "j"), calls(("weather", ROME), ids="counted")),
            (results("k"), Says("Done.")),
        ),
        tools=("weather", "now"),
    ),
    "refusals": Conversation(
        (
            (user("Hi."), Says("Hello.")),
            (user("How is it made?"), Says(refusal="I cannot help with that.")),
            (user("A poem, then."), Says("Roses.")),
            (user("Nothing."), Says(nothing=True)),
            (user("Look."), calls(("weather", ROME), words="I look.")),
            (results("Sun."), Says(refusal="I cannot say.")),
            (user("Well."), Says("Well.")),
        ),
        tools=("weather",),
    ),
    "later system messages": Conversation(
        (
            (also(system("Be brief."), system("Be kind.", "developer"), user("Hi.")([])[0]), Says("Hello.")),
            (also(user("Go on.")([])[0], system("Be long.", "developer")), Says("Well, well.")),
            (also(system("Be odd."), user("Odd?")([])[0]), calls(("now", "{}"))),
            (results("noon", then=also(system("It is late."))), Says("Late.")),
            (also(user("So?")([])[0], system("One."), system("Two.")), Says("Three.")),
            (user("Bye."), Says("Bye.")),
        ),
        tools=("now",),
    ),
    "several people": Conversation(
        (
            (user("Grüß Gott!", name="Zoë Smith"), Says("Servus! 🏔")),
            (user([text("我在北京。")], name="李"), Says("你好，李。")),
            (
                also(
                    user("One.", name="Ann")([])[0],
                    user("Two.", name="Bob|x")([])[0],
                    {"role": "assistant", "content": "Three.", "name": "critic"},
                    user("Four.", name="user")([])[0],
                ),
                calls(("now", "{}"), words="A moment, Ann."),
            ),
            (results("noon", then=user("\u202eevil\u202c \ufeffBOM", name="Eve")), Says("Noon.\r\n\tDone.")),
            (user("   ", name="Ann"), Says(" so ")),
            (user("Bye.", name="Ann"), Says("Bye.")),
        ),
        tools=("now",),
    ),
    "citations": Conversation(
        (
            (user("Search."), Says("The Po is a river.", cited=True)),
            (user("Sure?"), Says("Yes.", thought="Let me see", cited=True)),
            (user("Look."), calls(("weather", ROME), words="I searched.", cited=True)),
            (results("Sun."), Says("Sun.")),
            (user("More."), Says("The Rhine.", cited=True)),
            (user("Bye."), Says("Bye.")),
        ),
        tools=("weather",),
    ),
    "images made": Conversation(
        (
            (user("Draw a dot."), Says("Here.", image=True)),
            (user("Bluer."), Says("Here it is.", image=True)),
            (user([text("Like this?"), PHOTO]), Says("", image=True)),
            (user("Which city?"), calls(("weather", ROME), image=True)),
            (results("Sun."), Says("Sun.", image=True)),
            (user("Bye."), Says("Bye.", image=True)),
            (user("Once more."), Says("Bye bye.")),
        ),
        tools=("weather",),
    ),
    "marks for caches": Conversation(
        (
            (
                also(
                    {"role": "system", "content": [text("Long.", cache_control={"type": "ephemeral"})]},
                    user([text("Also long.", cache_control={"type": "ephemeral"}), text("")])([])[0],
                ),
                Says("So."),
            ),
            (user("Go.", cache_control={"type": "ephemeral"}), calls(("now", "{}"))),
            (results([text("noon", cache_control={"type": "ephemeral"})]), Says("Noon.")),
            (user([{**PICTURE, "cache_control": {"type": "ephemeral"}}, text("It?")]), Says("A dot.")),
            (user("A", cache_control=None), Says("B")),
            (user("C"), Says("D")),
        ),
        tools=("now",),
    ),
    "words alone": Conversation(
        (
            (user("Hi."), Says("Hello.")),
            (user("Really?"), Says("Yes.", thought="Sure")),
            (user([text("A"), text("B")]), Says("C")),
            (user(""), Says("Hm.")),
            (user("D"), Says("E\n")),
            (user("F"), Says("G")),
            (user("H"), Says("I")),
        ),
    ),
}
