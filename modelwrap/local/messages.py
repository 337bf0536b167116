"""What passes between this process and one that computes for it: a line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelwrap import errors
from modelwrap.errors import CallError, ModelwrapError, ServerFailed, TimedOut
from modelwrap.local.work import Event, Failed, Finished, Job, Piece
from modelwrap.local.workers import Cancel, Gone, Message, Refuse, Share, Stepped, Stop
from modelwrap.secrets import Secret


@dataclass(frozen=True, slots=True)
class Recipe:
    """Say as plain values how a runner is made: its kind is a name that the other process knows."""

    kind: str
    settings: Mapping[str, Any] = field(repr=False)
    device: str = ""


class Garbled(Exception):
    """Say that a line is none of the messages."""


def to_line(value: Any) -> bytes:
    # Only here do secrets show.
    return json.dumps(value, default=_revealed).encode("ascii") + b"\n"


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"a {type(value).__name__} is nothing that can be sent to another process")


def from_line(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Garbled(_start_of(line)) from error
    if not isinstance(value, dict):
        raise Garbled(_start_of(line))
    return value


def _start_of(line: bytes) -> str:
    return repr(line[:80])


# To the process that computes.


def recipe_line(recipe: Recipe) -> bytes:
    return to_line({"kind": recipe.kind, "settings": dict(recipe.settings), "device": recipe.device})


def parse_recipe(line: bytes) -> Recipe:
    value = from_line(line)
    return Recipe(value["kind"], value["settings"], value["device"])


def message_line(message: Message) -> bytes:
    match message:
        case Job():
            return _job_line(message)
        case Refuse():
            return to_line({"refuse": message.number, "reason": message.reason})
        case Cancel():
            return to_line({"cancel": message.number})
        case Share():
            return to_line({"share": message.devices})
        case Stop():
            return to_line({"stop": True})


def _job_line(job: Job) -> bytes:
    try:
        return to_line({"begin": job.number, "body": job.body, "done": job.done})
    except (TypeError, ValueError, RecursionError) as error:
        # A line must go out, because the other side counts jobs.
        return message_line(Refuse(job.number, f"the request is no plain JSON: {error}"))


def parse_message(line: bytes) -> Message:
    value = from_line(line)
    if "begin" in value:
        return Job(value["begin"], value["body"], tuple(value["done"]))
    if "refuse" in value:
        return Refuse(value["refuse"], value["reason"])
    if "share" in value:
        return Share(tuple(value["share"]))
    return Cancel(value["cancel"]) if "cancel" in value else Stop()


# And back.


def report_line(report: Stepped | Gone) -> bytes:
    match report:
        case Stepped():
            events = [_event(event) for event in report.events]
            return to_line({"events": events, "begun": report.begun, "inside": report.inside, "room": report.room})
        case Gone():
            return to_line({"gone": None if report.error is None else _error(report.error)})


def parse_report(line: bytes) -> Stepped | Gone:
    value = from_line(line)
    try:
        if "events" in value:
            events = [_parsed_event(event) for event in value["events"]]
            return Stepped(events, value["begun"], value["inside"], value["room"])
        gone = value["gone"]
        return Gone(None if gone is None else _parsed_error(gone))
    except (KeyError, TypeError, ValueError) as error:
        raise Garbled(_start_of(line)) from error


def _event(event: Event) -> list[Any]:
    match event:
        case Piece():
            return [event.number, event.data, event.tokens]
        case Finished():
            return [event.number]
        case Failed():
            return [event.number, _error(event.error)]


def _parsed_event(value: list[Any]) -> Event:
    match value:
        case [int(number)]:
            return Finished(number)
        case [int(number), dict(error)]:
            return Failed(number, _parsed_error(error))
        case [int(number), dict(data), list(tokens)]:
            return Piece(number, data, tuple(tokens))
    raise ValueError(f"{value!r} is no event")


# What of an error is plain and known before the front door fills in the rest.
_CALL_FIELDS = ("status", "code", "retryable", "sent", "body")


def _error(error: ModelwrapError) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if isinstance(error, CallError):
        known = {name: getattr(error, name) for name in _CALL_FIELDS}
    if isinstance(error, TimedOut):
        known["limit"] = error.limit
    message = error.message if isinstance(error, CallError) else str(error)
    return {"error": type(error).__name__, "message": message, "known": known}


def _parsed_error(value: dict[str, Any]) -> ModelwrapError:
    kind = getattr(errors, value["error"], None)
    if not (isinstance(kind, type) and issubclass(kind, ModelwrapError)):
        return ServerFailed(f"{value['error']}: {value['message']}", retryable=False)
    error: ModelwrapError = kind(value["message"], **value["known"])
    return error
