"""Stand-ins for services, and a runtime that sends every request to them, wherever it was meant to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from modelwrap.runtime.base import Deadline, HttpResponse, Runtime
from modelwrap.wire.http import HttpRequest
from tests import claude_wire, gemini_wire
from tests.loopback import Answer, Asked, chat_answer, json_answer

LATER_FLASK = {"choices": [{"message": {"content": "Rhine."}}], "object": "text_completion"}
TASK = {"task_id": "7", "task_status": "PENDING"}


KEYS = {
    "OPENAI_API_KEY": "sk-4Y7",
    "ANTHROPIC_API_KEY": "sk-ant-4Y7",
    "AZURE_OPENAI_API_KEY": "azure-4Y7",
    "GEMINI_API_KEY": "AIza-4Y7",
    "HF_TOKEN": "hf_4Y7",
    **{
        f"{host}_API_KEY": "k3y-4Y7"
        for host in ("DASHSCOPE", "DEEPSEEK", "GROQ", "MISTRAL", "MODELSCOPE", "OPENROUTER")
    },
}
"""What the ready configs want of the environment."""


class Elsewhere:
    """Send every request to loopback, wherever it was meant to go, and let no wait last."""

    def __init__(self, inner: Runtime, base_url: str) -> None:
        self._inner = inner
        self._base_url = base_url

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        url = self._base_url.removesuffix("/v1") + urlsplit(request.url).path
        return await self._inner.send(replace(request, url=url), deadline)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(min(seconds, 0.01))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class StandIn:
    """Answer as each service does at its path; a model of an inference API is loading when it is first asked."""

    def __init__(self) -> None:
        self._loaded = False

    def __call__(self, asked: Asked) -> Answer:
        for end, answer in ROUTES.items():
            if asked.path.endswith(end):
                if end == "/gpt2" and not self._loaded:
                    self._loaded = True
                    return json_answer({"error": "Model gpt2 is currently loading", "estimated_time": 0.02}, 503)
                return answer(asked)
        raise AssertionError(f"nobody stands at {asked.path}")


def _prompt_of(asked: Asked, key: str) -> str:
    prompt = asked.body[key]
    assert isinstance(prompt, str), f"{asked.path} takes a string, not {prompt!r}"
    return prompt


def _flask(asked: Asked) -> Answer:
    """Answer as AgentScope's servers of both eras."""
    _prompt_of(asked, "inputs")
    both = {"response": "Rhine.", "n_token_response": 5, "n_token_prompt": 3, "timestamp": "2024-01-18 10:00:00"}
    return json_answer({**both, "data": {"response": LATER_FLASK, "prompt_tokens": 3, "completion_tokens": 2}})


def _ollama_chat(asked: Asked) -> Answer:
    assert [message["role"] for message in asked.body["messages"]] == ["user"]
    assert asked.body["options"]["num_ctx"] == 8192
    counts = {"prompt_eval_count": 3, "eval_count": 2}
    said = {"role": "assistant", "content": "Rhine."}
    return json_answer({"model": asked.body["model"], "message": said, "done": True, "done_reason": "stop", **counts})


def _tgi(asked: Asked) -> Answer:
    assert _prompt_of(asked, "inputs")
    assert asked.body["parameters"]["details"] is True
    details = {"finish_reason": "eos_token", "generated_tokens": 2, "seed": None, "prefill": [], "tokens": []}
    return json_answer({"generated_text": "Rhine.", "details": details})


def _hugging_face(asked: Asked) -> Answer:
    assert asked.headers["authorization"].startswith("Bearer ")
    assert asked.body["parameters"] == {"return_full_text": False}
    return json_answer([{"generated_text": f"{_prompt_of(asked, 'inputs')} Rhine."}])


def _dashscope(asked: Asked) -> Answer:
    assert asked.headers["x-dashscope-async"] == "enable"
    assert asked.body["input"]["prompt"]
    return json_answer({"output": TASK, "request_id": "r"})


def _dashscope_task(asked: Asked) -> Answer:
    made = {"task_id": "7", "task_status": "SUCCEEDED", "results": [{"url": "https://example.com/a.png"}]}
    return json_answer({"output": made, "request_id": "r"})


def _embeddings(asked: Asked) -> Answer:
    texts = asked.body["input"] if isinstance(asked.body["input"], list) else [asked.body["input"]]
    length = asked.body.get("dimensions", 2)
    data = [{"object": "embedding", "index": place, "embedding": [0.5] * length} for place in range(len(texts))]
    return json_answer({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}})


def _gemini(asked: Asked) -> Answer:
    return gemini_wire.whole_answer("Rhine.")


def _gemini_vector(asked: Asked) -> Answer:
    return json_answer({"embedding": {"values": [0.1] * asked.body["outputDimensionality"]}})


def _responses(asked: Asked) -> Answer:
    said = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Rhine."}]}
    return json_answer({"id": "r", "object": "response", "status": "completed", "model": "m", "output": [said]})


ROUTES: dict[str, Callable[[Asked], Answer]] = {
    "/chat/completions": lambda asked: chat_answer("Rhine."),
    "/completions": lambda asked: json_answer({"choices": [{"index": 0, "text": "Rhine.", "finish_reason": "stop"}]}),
    "/responses": _responses,
    "/embeddings": _embeddings,
    "/images/generations": lambda asked: json_answer({"data": [{"b64_json": "aGk="}]}),
    "/v1/messages": lambda asked: claude_wire.message_answer({"type": "text", "text": "Rhine."}),
    ":generateContent": _gemini,
    ":embedContent": _gemini_vector,
    "/llm/": _flask,
    "/api/chat": _ollama_chat,
    "/api/embed": lambda asked: json_answer({"model": "m", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 2}),
    "/generate": _tgi,
    "/gpt2": _hugging_face,
    "/models/small": lambda asked: json_answer([{"generated_text": "Rhine."}]),
    "/feature-extraction": lambda asked: json_answer([0.1, 0.2]),
    "/FLUX.1-schnell": lambda asked: Answer(200, {"content-type": "image/jpeg"}, [b"\xff\xd8\xff picture"]),
    "/nlp_gpt3_text-generation_1.3B": lambda asked: json_answer({"Code": 200, "Data": {"text": "Rhine."}}),
    "/text2image/image-synthesis": _dashscope,
    "/tasks/7": _dashscope_task,
    "/chat": lambda asked: json_answer({"reply": {"words": "Rhine.", "error": None}}),
    "/images": lambda asked: json_answer({"data": {"response": {"data": [{"url": "https://example.com/a.png"}]}}}),
    "/vectors": lambda asked: json_answer({"data": {"response": {"data": [{"embedding": [0.1], "index": 0}]}}}),
    "/jobs": lambda asked: json_answer({"id": 7, "status": "queued"}),
    "/jobs/7": lambda asked: json_answer({"id": 7, "status": "done", "result": "Rhine."}),
}
"""What stands at the end of each path; the first that fits answers."""
