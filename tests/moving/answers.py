"""What a model says in one turn, told of no provider, and how each provider says it on its wire."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from tests import claude_wire, gemini_wire, responses_wire
from tests.loopback import Answer, event, json_answer

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PAGE = "https://example.com/rivers"


@dataclass(frozen=True)
class Says:
    """Be a turn of a model's; what a provider has no way to say, it leaves out."""

    text: str = ""
    thought: str = ""
    hidden: bool = False
    """Whether some of what was thought cannot be read."""
    calls: tuple[tuple[str, str], ...] = ()
    """Names of tools as the caller has them, and arguments."""
    ids: str = "own"
    """How calls are named where a provider leaves that open: `own`, `counted` in each turn, `odd`, `long`, `none`."""
    refusal: str = ""
    cited: bool = False
    image: bool = False
    nothing: bool = False


@dataclass(frozen=True)
class Turn:
    """Be what a party is told of the turn that it takes."""

    says: Says
    number: int
    names: dict[str, str]
    """What the tools are called in the request, by their names at the caller's."""

    def signature(self, party: str, part: int = 0) -> str:
        """Give what only this party can read."""
        return base64.b64encode(f"{party} signed turn {self.number:03} {part:03}".encode()).decode()

    def thought(self, party: str) -> str:
        return f"{self.says.thought}, thought {party} in turn {self.number}" if self.says.thought else ""

    def called(self) -> list[tuple[str, str]]:
        return [(self.names[name], arguments) for name, arguments in self.says.calls]

    def call_id(self, place: int) -> str:
        own = f"call_{self.number:03}{place}"
        ids = {
            "own": own,
            "counted": f"call_{place}",
            "odd": f"functions.tool:{self.number}{place}",
            "long": own + "x" * 60,
            "none": "",
        }
        return ids[self.says.ids]

    @property
    def arguments_as_objects(self) -> list[dict[str, Any]]:
        """The arguments in wires that have no broken ones."""
        found = []
        for _, arguments in self.says.calls:
            try:
                found.append(json.loads(arguments or "{}"))
            except ValueError:
                found.append({})
        return found


def chat(turn: Turn, *, stream: bool) -> Answer:
    says = turn.says
    message: dict[str, Any] = {"role": "assistant", "content": says.text or None, "refusal": says.refusal or None}
    if says.thought:
        # As compatible servers have it.
        message["reasoning_content"] = turn.thought("chat")
    if says.calls:
        message["tool_calls"] = [
            {"id": turn.call_id(place), "type": "function", "function": {"name": name, "arguments": arguments}}
            for place, (name, arguments) in enumerate(turn.called())
        ]
    if says.cited:
        cited = {"url": PAGE, "title": "Rivers", "start_index": 0, "end_index": 3}
        message["annotations"] = [{"type": "url_citation", "url_citation": cited}]
    reason = "tool_calls" if says.calls else "stop"
    head = {"id": f"chatcmpl-{turn.number}", "created": 1_700_000_000, "model": "gpt-4.1"}
    if not stream:
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return json_answer({**head, "object": "chat.completion", "choices": [choice], "usage": _USAGE})
    deltas = [*_deltas(message), {}]
    head["object"] = "chat.completion.chunk"
    pieces = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else reason}]}
        for delta in deltas
    ]
    return _events([*map(event, [*pieces, {**head, "choices": [], "usage": _USAGE}]), event(b"[DONE]")])


_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    deltas = [{"role": "assistant", "content": ""}]
    for name, value in message.items():
        if isinstance(value, str) and name != "role":
            deltas += [{name: value[:4]}, {name: value[4:]}] if len(value) > 4 else [{name: value}]
    for place, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        deltas.append({"tool_calls": [{**call, "index": place, "function": {**function, "arguments": ""}}]})
        deltas.append({"tool_calls": [{"index": place, "function": {"arguments": function["arguments"]}}]})
    return [*deltas, {"annotations": message["annotations"]}] if "annotations" in message else deltas


def responses(turn: Turn, *, stream: bool) -> Answer:
    says, number = turn.says, turn.number
    items: list[dict[str, Any]] = []
    if says.thought:
        signed = turn.signature("responses")
        items.append(responses_wire.thought(turn.thought("responses"), number=number, encrypted=signed))
    if says.cited:
        items.append({"type": "web_search_call", "id": f"ws_{number}", "status": "completed", "action": _SEARCH})
    if says.text:
        item = responses_wire.said(says.text, number)
        if says.cited:
            cited = {"type": "url_citation", "url": PAGE, "title": "Rivers", "start_index": 0, "end_index": 3}
            item["content"][0]["annotations"] = [cited]
        items.append(item)
    if says.refusal:
        part = {"type": "refusal", "refusal": says.refusal}
        items.append({**responses_wire.said("", number), "content": [part]})
    for place, (name, arguments) in enumerate(turn.called()):
        call = responses_wire.called(number * 10 + place, name, arguments)
        items.append({**call, "call_id": f"call_r{number:03}{place}"})
    whole = {**responses_wire.response(*items), "id": f"resp_{number}"}
    return responses_wire.events_answer(responses_wire.events_of(whole)) if stream else json_answer(whole)


_SEARCH = {"type": "search", "query": "rivers", "queries": ["rivers"]}


def claude(turn: Turn, *, stream: bool) -> Answer:
    says, number = turn.says, turn.number
    blocks: list[dict[str, Any]] = []
    if says.thought:
        thinking = turn.thought("claude")
        blocks.append({"type": "thinking", "thinking": thinking, "signature": turn.signature("claude")})
    if says.hidden:
        blocks.append({"type": "redacted_thinking", "data": turn.signature("claude", 1)})
    if says.cited:
        blocks += [
            {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": f"srvtoolu_{number}", "content": [_found(turn)]},
        ]
    if says.text:
        cited = [{**_CITED, "encrypted_index": turn.signature("claude", 2)}] if says.cited else None
        blocks.append({"type": "text", "text": says.text, **({"citations": cited} if cited else {})})
    for place, (arguments, (name, _)) in enumerate(zip(turn.arguments_as_objects, turn.called(), strict=True)):
        if says.thought and place:
            thinking = turn.thought("claude") + " again"
            blocks.append({"type": "thinking", "thinking": thinking, "signature": turn.signature("claude", 3 + place)})
        blocks.append({"type": "tool_use", "id": f"toolu_{number:03}{place}", "name": name, "input": arguments})
    stop = "refusal" if says.refusal else "tool_use" if says.calls else "end_turn"
    beside = {"stop_details": {"type": "refusal", "category": "bio", "explanation": says.refusal}}
    fields = {"stop": stop, "id": f"msg_{number}", **(beside if says.refusal else {})}
    whole = claude_wire.message(*blocks, **fields)
    return claude_wire.events_answer(claude_wire.events_of(whole)) if stream else json_answer(whole)


_CITED = {"type": "web_search_result_location", "url": PAGE, "title": "Rivers", "cited_text": "Po"}


def _found(turn: Turn) -> dict[str, Any]:
    content = turn.signature("claude", 9)
    return {"type": "web_search_result", "url": PAGE, "title": "Rivers", "encrypted_content": content}


def gemini(turn: Turn, *, stream: bool) -> Answer:
    says, number = turn.says, turn.number
    parts: list[dict[str, Any]] = []
    if says.thought:
        parts.append({"text": turn.thought("gemini"), "thought": True})
    if says.text:
        signed = {"thoughtSignature": turn.signature("gemini")} if says.thought and not says.calls else {}
        parts.append({"text": says.text, **signed})
    if says.image:
        image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
        parts.append({**image, "thoughtSignature": turn.signature("gemini", 1)})
    for place, (arguments, (name, _)) in enumerate(zip(turn.arguments_as_objects, turn.called(), strict=True)):
        call = {"name": name, "args": arguments, **({} if says.ids == "none" else {"id": f"g{number:03}{place}"})}
        parts.append({"functionCall": call, **({} if place else {"thoughtSignature": turn.signature("gemini", 2)})})
    fields: dict[str, Any] = {"reason": "SAFETY" if says.refusal else "STOP"}
    if says.cited:
        segment = {"startIndex": 0, "endIndex": 3, "text": says.text[:3]}
        fields["groundingMetadata"] = {
            "groundingChunks": [{"web": {"uri": PAGE, "title": "Rivers"}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        }
    whole = {**gemini_wire.answer(*parts, **fields), "responseId": f"r{number}"}
    if not stream:
        return json_answer(whole)
    *first, last = parts or [{"text": ""}]
    pieces = [*(gemini_wire.answer(part, reason=None) for part in first), gemini_wire.answer(last, **fields)]
    return gemini_wire.stream_answer([{**piece, "responseId": f"r{number}"} for piece in pieces])


def _events(pieces: list[bytes]) -> Answer:
    return Answer(200, {"content-type": "text/event-stream"}, [*pieces])
