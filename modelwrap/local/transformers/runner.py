"""Chats computed by a model of the transformers library: jobs in, pieces of answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelwrap.local.transformers.chats import Chat, Chats
from modelwrap.local.transformers.constraints import Constraint, Grammars
from modelwrap.local.transformers.decoding import Broken, Decoder, Token
from modelwrap.local.transformers.hook_runner import EntryRunner, HookRunner
from modelwrap.local.transformers.hooks import ModelParts
from modelwrap.local.transformers.rows import Row
from modelwrap.local.transformers.sampling import Closing
from modelwrap.local.transformers.telling import Answer
from modelwrap.local.transformers.threads import Threads
from modelwrap.local.work import Event, Failed, Finished, Job, Runner
from modelwrap.local.workers import failure


def runner_of(
    info: Any,
    *,
    batch_size: int,
    context: int | None = None,
    lends_tensors: bool = False,
    threads: Threads | None = None,
) -> Runner:
    """Choose what computes the chats of a model: a dict or an object with hooks, what was loaded, or an entry.

    An entry is an object with `inference(batch, temperature)`. A model whose owner encodes or generates computes one
    chat at a time unless the hooks say that they are `batchable`.
    """
    threads = threads or Threads()
    if not isinstance(info, Mapping) and hasattr(info, "inference"):
        return EntryRunner(info, threads, batch_size=batch_size)
    parts = ModelParts.of(info)
    together = batch_size if parts.batchable or (parts.encode is None and parts.generate is None) else 1
    if parts.generates_itself:
        return HookRunner(parts, threads, batch_size=together, context=context)
    return ChatRunner(parts, threads, batch_size=together, context=context, lends_tensors=lends_tensors)


class ChatRunner:
    """Compute chats together, a token for each at a time."""

    def __init__(
        self,
        parts: ModelParts,
        threads: Threads,
        *,
        batch_size: int,
        context: int | None = None,
        lends_tensors: bool = False,
    ) -> None:
        self._parts = parts
        self._threads = threads
        self._chats = Chats(parts, context)
        self._chats.warn_of_settings()
        self._grammars: Grammars | None = None
        pad = getattr(parts.tokenizer, "pad_token_id", None)
        self._decoder = Decoder(parts.model, batch_size=batch_size, pad=pad or 0, lends_tensors=lends_tensors)
        self._answers: dict[int, Answer] = {}
        self._pending: list[Event] = []

    @property
    def room(self) -> int:
        return self._decoder.room

    @property
    def busy(self) -> bool:
        return self._decoder.busy or bool(self._pending)

    def begin(self, job: Job) -> None:
        chat = self._chats.read(job)
        encoded = self._chats.prompts.encode(chat.prompt)
        most = self._chats.most_tokens(len(encoded.ids), chat.asked)
        constraint = self._constraint(chat)
        closing = self._closing(chat, most) if constraint is None else None
        row = Row(
            job.number,
            encoded.ids,
            chat.asked.sampling,
            constraint,
            closing,
            inputs={name: value.to(self._parts.model.device) for name, value in encoded.inputs.items()},
            made=list(job.done),
        )
        answer = self._chats.answer(
            chat,
            len(encoded.ids),
            most,
            streams=chat.asked.streams,
            closed=closing is not None,
            before=encoded.ids,
            whole=(lambda: constraint.ended) if constraint is not None else (lambda: False),
        )
        for token in job.done:
            answer.again(token)
        if answer.finish_reason is not None:
            self._pending += [*answer.end(), Finished(job.number)]
            return
        self._decoder.join(row)
        self._answers[job.number] = answer

    def cancel(self, number: int) -> None:
        self._decoder.leave(number)
        self._answers.pop(number, None)
        self._pending = [event for event in self._pending if event.number != number]

    def step(self) -> list[Event]:
        events, self._pending = self._pending, []
        if self._decoder.busy:
            for outcome in self._decoder.step():
                events += self._told(outcome)
        return events

    def share(self, devices: Sequence[str]) -> None:
        self._threads.share(devices)

    def close(self) -> None:
        for number in list(self._answers):
            self.cancel(number)
        self._pending.clear()
        self._threads.give_back()

    def _told(self, outcome: Token | Broken) -> list[Event]:
        number = outcome.number
        answer = self._answers[number]
        if isinstance(outcome, Broken):
            del self._answers[number]
            return [Failed(number, failure(outcome.error))]
        logprob = None if outcome.logprob is None else (outcome.logprob, outcome.top)
        try:
            pieces = answer.take(outcome.id, logprob)
        except Exception as error:  # a tokenizer or a hook may raise anything; the other answers go on
            self.cancel(number)
            return [Failed(number, failure(error))]
        if answer.finish_reason is None:
            return list(pieces)
        self.cancel(number)
        return [*pieces, Finished(number)]

    def _closing(self, chat: Chat, most: int) -> Closing | None:
        tokens = self._chats.defaults.forced_eos_token_id
        return Closing(most, tokens) if tokens and chat.asked.ends else None

    def _constraint(self, chat: Chat) -> Constraint | None:
        shape = chat.shape
        if shape.schema is None and shape.pattern is None:
            return None
        if self._grammars is None:
            self._grammars = Grammars.of(self._parts.tokenizer, self._chats.size or 0, sorted(self._chats.ends))
        if shape.pattern is not None:
            return self._grammars.regex(shape.pattern)
        return self._grammars.json_schema(shape.schema)
