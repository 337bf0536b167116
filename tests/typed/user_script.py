"""What a user's editor and type checker know; `mypy --strict` reads it, and a test runs it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import modelwrap


def ask(model: modelwrap.Model) -> str:
    reply = model("Name three rivers.")
    assert_type(reply, modelwrap.ChatReply)
    assert_type(reply.text, str)
    assert_type(reply.choices[0].message.content, str | None)
    assert_type(reply.choices[0].finish_reason, str | None)
    assert_type(reply.usage.total_tokens, int)
    assert_type(reply.meta.attempts, int)
    for call in reply.choices[0].message.tool_calls or []:
        assert_type(call.function.arguments, str)
    return reply.choices[0].message.content or ""


def read(model: modelwrap.Model) -> str:
    text = ""
    with model.stream("Name three rivers.") as stream:
        assert_type(stream, modelwrap.Stream)
        for chunk in stream:
            assert_type(chunk, modelwrap.ChatChunk)
            for choice in chunk.choices:
                assert_type(choice.delta.content, str | None)
            text += chunk.text
        assert_type(stream.reply, modelwrap.ChatReply)
    assert_type(model("Name three rivers.", stream=True), modelwrap.Stream)
    return text


async def ask_at_once(model: modelwrap.Model) -> str:
    reply = await model.acall("Name three rivers.")
    assert_type(reply, modelwrap.ChatReply)
    async with model.astream("Name three rivers.") as stream:
        assert_type(stream, modelwrap.AsyncStream)
        async for chunk in stream:
            assert_type(chunk.text, str)
        assert_type(await stream.reply, modelwrap.ChatReply)
    assert_type(await model.acall("Name three rivers.", stream=True), modelwrap.AsyncStream)
    return reply.text


def ask_either_way(model: modelwrap.Model, stream: bool) -> str:
    answer = model("Name three rivers.", stream=stream)
    assert_type(answer, modelwrap.ChatReply | modelwrap.Stream)
    return answer.text if isinstance(answer, modelwrap.ChatReply) else answer.reply.text


def configure(base_url: str) -> modelwrap.Model:
    entry = {"config_name": "gpt", "model_type": "openai", "client_args": {"base_url": base_url}}
    models = modelwrap.init(model_configs=[entry])
    assert_type(models["gpt"], modelwrap.Model)
    return modelwrap.get_model("gpt")


def survive(model: modelwrap.Model) -> float | None:
    try:
        ask(model)
    except modelwrap.RateLimited as error:
        assert_type(error.attempts, int)
        assert_type(error.partial, modelwrap.ChatReply | None)
        return error.retry_after
    return None


def vectors(model: modelwrap.Model) -> list[list[float]]:
    reply: modelwrap.Reply = model(["Rhine", "Elbe"])
    assert isinstance(reply, modelwrap.EmbeddingReply)
    return assert_type(reply.embeddings, list[list[float]])


def saved(model: modelwrap.Model, folder: Path) -> list[Path]:
    reply: modelwrap.Reply = model("A river at night.")
    assert isinstance(reply, modelwrap.ImageReply)
    return assert_type(reply.save(folder), list[Path])
