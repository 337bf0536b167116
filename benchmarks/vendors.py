"""Measure one call and one piece of a stream beside a vendor's own client, on the vendor's own wire.

`vendors.py` measures every vendor whose client is installed here, prints a table, and fails where a call or a piece
costs more than half of what it costs through that client. `vendors.py NAME…` measures only those; with `--brief`
first, one turn of each, which shows that they run and judges nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

import environments
import server

MOST = 0.5
"""Which part of the vendor's processor time a call and a piece may cost."""

MOST_OF_MUCH = 0.75
"""The same where an answer is so long that most of the time goes by in the kernel, which is as fast for both."""

TURNS = 7
CALLS = 1000
STREAMS = 6
WORDS = 500
TEXTS, DIMENSIONS = 4, 1536
IMAGE = 400_000
QUESTION = "Name a river."


class Client(NamedTuple):
    call: Callable[[], object]
    """Give what one reply says."""
    stream: Callable[[], int] | None = None
    """Read one stream to its end, and give the number of its pieces; None where there are no streams."""


class Vendor(NamedTuple):
    package: str
    theirs: Callable[[str], Client]
    ours: Callable[[str], Client]
    reply: Callable[[], bytes]
    events: Callable[[], list[bytes]] = list
    said: object = "Hello"
    """What one reply says, so that both are known to have read it."""
    most: float = MOST


def count(pieces: Iterable[object]) -> int:
    return sum(1 for _ in pieces)


def event(data: Any, name: str = "") -> bytes:
    return f"{f'event: {name}' if name else ''}\ndata: {json.dumps(data)}\n\n".lstrip("\n").encode()


def modelwrap_model(config: dict[str, Any], base_url: str) -> Any:
    import modelwrap

    config = {"config_name": "m", "api_key": "EMPTY", **config, "client_args": {"base_url": base_url}}
    return modelwrap.load(config)["m"]


def modelwrap_client(config: dict[str, Any], base_url: str) -> Client:
    model = modelwrap_model(config, base_url)
    return Client(lambda: model(QUESTION).text, lambda: count(model.stream(QUESTION)))


# Claude


def claude_theirs(base_url: str) -> Client:
    from anthropic import Anthropic

    client = Anthropic(api_key="k", base_url=base_url)
    asked: Any = {"model": "claude-opus-5", "max_tokens": 1024, "messages": [{"role": "user", "content": QUESTION}]}

    def stream() -> int:
        # Of its two ways to stream this is the one that, as ours does, also adds the pieces up.
        with client.messages.stream(**asked) as reading:
            return sum(one.type == "text" for one in reading)

    return Client(lambda: client.messages.create(**asked).content[0].text, stream)


def claude_ours(base_url: str) -> Client:
    known = {"model_type": "claude", "model": "claude-opus-5", "generate_args": {"max_tokens": 1024}}
    return modelwrap_client(known, base_url)


def claude_message(*content: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 0, "output_tokens": 2, "service_tier": "standard"},
    }


def claude_events() -> list[bytes]:
    block = {"type": "text", "text": ""}
    words = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f" {number}"}}
        for number in range(WORDS)
    ]
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": claude_message()},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *words,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": WORDS}},
        {"type": "message_stop"},
    ]
    return [event(one, one["type"]) for one in events]


# OpenAI's Responses


def responses_theirs(base_url: str) -> Client:
    from openai import OpenAI

    client = OpenAI(api_key="k", base_url=f"{base_url}/v1")
    asked: Any = {"model": "gpt-4.1", "input": QUESTION}

    def stream() -> int:
        # Of its two ways to stream this is the one that, as ours does, also adds the pieces up.
        with client.responses.stream(**asked) as reading:
            return sum(one.type == "response.output_text.delta" for one in reading)

    return Client(lambda: client.responses.create(**asked).output_text, stream)


def responses_ours(base_url: str) -> Client:
    return modelwrap_client({"model_type": "openai", "model": "gpt-4.1", "api": "responses"}, base_url)


def responses_reply(*output: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-4.1",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        },
    }


def responses_message(text: str | None, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    content = [] if text is None else [part]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}


def responses_events() -> list[bytes]:
    at: dict[str, Any] = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    text = "".join(f" {number}" for number in range(WORDS))
    whole = responses_message(text)
    words = [
        {"type": "response.output_text.delta", **at, "delta": f" {number}", "logprobs": [], "obfuscation": "x" * 9}
        for number in range(WORDS)
    ]
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    begun = responses_message(None, "in_progress")
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**responses_reply(status="in_progress"), "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **at, "part": empty},
        *words,
        {"type": "response.output_text.done", **at, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": whole["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": responses_reply(whole)},
    ]
    return [event({**one, "sequence_number": number}, one["type"]) for number, one in enumerate(events)]


# Gemini


def gemini_theirs(base_url: str) -> Client:
    from google import genai
    from google.genai import types

    options = types.HttpOptions(base_url=base_url, api_version="v1beta")
    # Closed as soon as nobody holds it.
    client = genai.Client(api_key="k", vertexai=False, http_options=options)
    asked: Any = {"model": "gemini-3.8-flash", "contents": QUESTION}
    return Client(
        lambda: client.models.generate_content(**asked).text,
        lambda: count(client.models.generate_content_stream(**asked)),
    )


def gemini_ours(base_url: str) -> Client:
    return modelwrap_client({"model_type": "gemini", "model": "gemini-3.8-flash"}, base_url)


def gemini_answer(text: str, reason: str | None = None) -> dict[str, Any]:
    ended = {"finishReason": reason} if reason else {}
    return {
        "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, **ended, "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 2,
            "totalTokenCount": 5,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
        },
        "modelVersion": "gemini-3.8-flash",
        "responseId": "bGVuZ3RoIG9mIG9uZQ",
    }


def gemini_events() -> list[bytes]:
    words = [event(gemini_answer(f" {number}")) for number in range(WORDS - 1)]
    return [*words, event(gemini_answer("", "STOP"))]


# OpenAI's models on Azure


def azure_theirs(base_url: str) -> Client:
    from openai import AzureOpenAI

    client = AzureOpenAI(api_key="k", azure_endpoint=base_url, api_version="2024-10-21")
    asked: Any = {"model": "gpt-4.1", "messages": [{"role": "user", "content": QUESTION}]}

    def stream() -> int:
        # Of its two ways to stream this is the one that, as ours does, also adds the pieces up.
        with client.chat.completions.stream(**asked) as reading:
            return sum(one.type == "content.delta" for one in reading)

    return Client(lambda: client.chat.completions.create(**asked).choices[0].message.content, stream)


def azure_ours(base_url: str) -> Client:
    return modelwrap_client({"model_type": "azure_openai", "model": "gpt-4.1"}, base_url)


def azure_answer(kind: str, **choice: Any) -> dict[str, Any]:
    filters = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
    known = {"index": 0, "finish_reason": None, "logprobs": None, "content_filter_results": filters}
    return {
        "id": "chatcmpl-1",
        "object": kind,
        "created": 1_700_000_000,
        "model": "gpt-4.1-2025-04-14",
        "choices": [{**known, **choice}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filters}],
    }


def azure_events() -> list[bytes]:
    words = [event(azure_chunk({"content": f" {number}"})) for number in range(WORDS - 1)]
    return [*words, event(azure_chunk({}, "stop")), b"data: [DONE]\n\n"]


def azure_chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    whole = azure_answer("chat.completion.chunk", delta=delta, finish_reason=reason)
    return {name: value for name, value in whole.items() if name not in ("usage", "prompt_filter_results")}


# OpenAI's vectors and images


def vectors_theirs(base_url: str) -> Client:
    from openai import OpenAI

    client = OpenAI(api_key="k", base_url=f"{base_url}/v1")
    asked: Any = {"model": "text-embedding-3-small", "input": [QUESTION] * TEXTS}
    return Client(lambda: sum(len(one.embedding) for one in client.embeddings.create(**asked).data))


def vectors_ours(base_url: str) -> Client:
    known = {"model": "text-embedding-3-small", "capabilities": {"like": "text-embedding-3-small"}}
    model = modelwrap_model({"model_type": "openai_embedding", **known}, base_url)
    return Client(lambda: sum(map(len, model([QUESTION] * TEXTS).embeddings)))


def vectors_reply() -> bytes:
    vector = base64.b64encode(array("f", [0.125] * DIMENSIONS).tobytes()).decode()
    data = [{"object": "embedding", "index": place, "embedding": vector} for place in range(TEXTS)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return json.dumps({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}).encode()


def images_theirs(base_url: str) -> Client:
    from openai import OpenAI

    client = OpenAI(api_key="k", base_url=f"{base_url}/v1")
    asked: Any = {"model": "gpt-image-2", "prompt": QUESTION}
    return Client(lambda: len(client.images.generate(**asked).data[0].b64_json))


def images_ours(base_url: str) -> Client:
    model = modelwrap_model({"model_type": "openai_dall_e", "model": "gpt-image-2"}, base_url)
    return Client(lambda: len(model(QUESTION).data[0].b64_json))


def images_reply() -> bytes:
    details = {"image_tokens": 0, "text_tokens": 4}
    usage = {"input_tokens": 4, "input_tokens_details": details, "output_tokens": 272, "total_tokens": 276}
    image = {"b64_json": "iVBO" + "A" * (IMAGE - 4)}
    return json.dumps({"created": 1_700_000_000, "data": [image], "output_format": "png", "usage": usage}).encode()


VENDORS = {
    "claude": Vendor(
        "anthropic",
        claude_theirs,
        claude_ours,
        lambda: json.dumps(claude_message({"type": "text", "text": "Hello"}, reason="end_turn")).encode(),
        claude_events,
    ),
    "responses": Vendor(
        "openai",
        responses_theirs,
        responses_ours,
        lambda: json.dumps(responses_reply(responses_message("Hello"))).encode(),
        responses_events,
    ),
    "gemini": Vendor(
        "google.genai",
        gemini_theirs,
        gemini_ours,
        lambda: json.dumps(gemini_answer("Hello", "STOP")).encode(),
        gemini_events,
    ),
    "azure": Vendor(
        "openai",
        azure_theirs,
        azure_ours,
        lambda: json.dumps(
            azure_answer("chat.completion", message={"role": "assistant", "content": "Hello"}, finish_reason="stop")
        ).encode(),
        azure_events,
    ),
    "vectors": Vendor(
        "openai", vectors_theirs, vectors_ours, vectors_reply, said=TEXTS * DIMENSIONS, most=MOST_OF_MUCH
    ),
    "images": Vendor("openai", images_theirs, images_ours, images_reply, said=IMAGE, most=MOST_OF_MUCH),
}


# Measuring


def measure(client: Client, said: object) -> dict[str, float]:
    """Give the seconds of processor that one call and one piece cost, once all is warm."""
    assert client.call() == said
    for _ in range(CALLS // 10):
        client.call()
    costs = {"call": cost(client.call, CALLS)}
    if client.stream is not None:
        pieces = client.stream()
        costs["piece"] = cost(client.stream, STREAMS) / pieces
    return costs


def cost(work: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


async def serve(vendor: Vendor) -> None:
    """Answer with a canned reply, and where the path or the body asks for a stream, with a canned stream."""
    whole, stream = server.answer("application/json", vendor.reply()), server.streamed(vendor.events())

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport: Any = transport
            self._received = b""

        def data_received(self, data: bytes) -> None:
            self._received += data
            head, blank_line, rest = self._received.partition(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"\r\ncontent-length:")
            size = int(length.partition(b"\r\n")[0] or 0)
            if blank_line and len(rest) >= size:
                self._received = rest[size:]
                line = head.partition(b"\r\n")[0]
                asked = b":stream" in line or b'"stream":true' in rest[:size].replace(b" ", b"")
                self._transport.write(stream if asked else whole)

    made = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(made.sockets[0].getsockname()[1], flush=True)
    await made.serve_forever()


def compare(name: str, turns: int) -> dict[str, dict[str, float]]:
    """Measure both by turns, each time in a process of its own, and give the medians."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    host = subprocess.Popen([sys.executable, __file__, "serve", name], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    try:
        base_url = f"http://127.0.0.1:{host.stdout.readline().strip()}"
        for turn in range(turns):
            for side in sorted(found, reverse=turn % 2 == 1):
                done = subprocess.run(
                    [sys.executable, __file__, "measure", name, side, base_url],
                    env=environments.variables(),
                    capture_output=True,
                    text=True,
                    check=True,
                )
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    return {
        side: {what: statistics.median(one[what] for one in measured) for what in measured[0]}
        for side, measured in found.items()
    }


def main() -> int:
    match sys.argv[1:]:
        case ["serve", name]:
            asyncio.run(serve(VENDORS[name]))
        case ["measure", name, side, base_url]:
            vendor = VENDORS[name]
            print(json.dumps(measure(getattr(vendor, side)(base_url), vendor.said)))
        case ["--brief", *names]:
            report(names or installed(), turns=1)
        case names:
            return report(names or installed(), TURNS)
    return 0


def installed() -> list[str]:
    return [name for name, vendor in VENDORS.items() if find_spec(vendor.package)]


def report(names: list[str], turns: int) -> int:
    missed = 0
    print("| wire | | modelwrap, µs | the vendor's client, µs | ratio | at most |")
    print("|---|---|---|---|---|---|")
    for name in names:
        found, most = compare(name, turns), VENDORS[name].most
        for what in found["ours"]:
            ours, theirs = found["ours"][what] * 1e6, found["theirs"][what] * 1e6
            missed += ours > most * theirs
            print(f"| {name} | {what} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} | {most} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
