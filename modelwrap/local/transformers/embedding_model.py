"""The model type `transformers_embedding`: texts made into jobs, and their vectors into one reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import accumulate
from typing import Any, Self

from modelwrap.errors import BadRequest, InvalidResponse
from modelwrap.local.transformers import hubs
from modelwrap.local.transformers.building import EmbeddingBuilder
from modelwrap.local.transformers.config import TransformersEmbeddingConfig
from modelwrap.local.transformers.pooling import PARAMETERS
from modelwrap.local.transformers.replicated import ReplicatedModel
from modelwrap.models.attempts import Attempted
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.models.embedding import read_texts
from modelwrap.runtime.base import Runtime
from modelwrap.types import JSON, Change, EmbeddingReply, Reply
from modelwrap.wire.embeddings import batches, listed
from modelwrap.wire.openai_embedding import texts_of
from modelwrap.wire.usage import token_usage

# How many texts one replica takes at a time: a call of many is shared among all that there are.
_TEXTS_A_JOB = 256


class TransformersEmbedding(ReplicatedModel):
    """Make vectors of texts with a model of the transformers library."""

    Config = TransformersEmbeddingConfig

    def __init__(self, config: TransformersEmbeddingConfig) -> None:
        super().__init__(config, EmbeddingBuilder(config))

    @classmethod
    def from_config(cls, config: TransformersEmbeddingConfig) -> Self:
        hubs.check(config)
        return super().from_config(config)

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        await self.ready(call, runtime)
        body = self._body(call)
        texts = body.pop("input")
        parts = batches(texts, _TEXTS_A_JOB)
        jobs = [self.job({"input": part, "first": place * _TEXTS_A_JOB, **body}) for place, part in enumerate(parts)]
        with Attempted(call, self.name, call.endpoint, runtime):
            async with aclosing(self.pieces(jobs, call, runtime)) as pieces:
                found = {piece.number: piece.data async for piece in pieces}
            if found.keys() != {job.number for job in jobs}:
                raise InvalidResponse("the model stopped before all vectors were made")
        return self._reply([found[job.number] for job in jobs], call)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        raise BadRequest("stream: vectors come in one piece", sent=False)

    def describe(self, call: Call) -> Explanation:
        body = self._body(call)
        return Explanation("transformers", self.endpoint, {}, body, tuple(call.changes))

    def _body(self, call: Call) -> dict[str, Any]:
        call.endpoint = self.endpoint
        given = texts_of(read_texts(call.input, call.lasting))
        call.changes[:] = call.lasting
        call.parameters = {**call.parameters, **call.extra_body}
        parameters = self.to_parameters(call, PARAMETERS)
        # Numbers are what a reply holds, however they come.
        if parameters.pop("encoding_format", "float") not in ("float", "base64"):
            raise BadRequest("encoding_format: must be float or base64", sent=False)
        return {"input": given, **parameters}

    def _reply(self, parts: Sequence[JSON], call: Call) -> EmbeddingReply:
        """Make one reply of what came of each job."""
        tokens = sum(part["tokens"] for part in parts)
        vectors = [vector for part in parts for vector in part["vectors"]]
        cut = [place for part, start in zip(parts, _starts(parts), strict=True) for place in _moved(part["cut"], start)]
        for place in cut:
            call.changes.append(Change("clamped", f"input[{place}]", f"of it {parts[0]['longest']} tokens count"))
        call.changes += [Change("defaulted", "pooling", said) for said in parts[0]["guessed"]]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        raw = {"object": "list", "model": self.endpoint, "data": listed(vectors), "usage": usage}
        reply = EmbeddingReply.model_validate(raw)
        reply._raw = raw
        reply.meta.usage = token_usage(reply.usage)
        return reply


def _starts(parts: Sequence[JSON]) -> Iterator[int]:
    """Give of each part at which text it begins."""
    return accumulate((len(part["vectors"]) for part in parts[:-1]), initial=0)


def _moved(places: Sequence[int], start: int) -> list[int]:
    return [start + place for place in places]
