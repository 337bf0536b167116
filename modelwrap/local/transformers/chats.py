"""From jobs to chats: what is asked of a model, how its answer is bound and read, and when it is over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelwrap.errors import BadRequest, ConfigError, ContextTooLong, ModelwrapWarning, UnsupportedParameter
from modelwrap.local.transformers import parameters
from modelwrap.local.transformers.answers import AnswerReader, ForcedReader, PlainReader, TemplateReader, reader_of
from modelwrap.local.transformers.hooks import ModelParts, taken
from modelwrap.local.transformers.logprobs import Logprobs
from modelwrap.local.transformers.parameters import Asked, Defaults
from modelwrap.local.transformers.prompts import Prompt, Prompts
from modelwrap.local.transformers.telling import Answer, HookedText, Limits, Text
from modelwrap.local.transformers.text import Detokenizer, Vocabulary
from modelwrap.local.transformers.tool_calls import HARMONY, forced_schema, form_of, tools_of
from modelwrap.local.work import Job

# Of a model that does not say how much it can hold, an answer has no more unless the call asks for it.
_LONGEST_ANSWER = 4096
# Tokenizers that know no limit name one of this size or more.
_NO_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Chat:
    """Be one job, understood."""

    number: int
    asked: Asked
    prompt: Prompt
    shape: Shape


class Chats:
    """Know what all chats with one model have in common."""

    def __init__(self, parts: ModelParts, context: int | None = None) -> None:
        self.parts = parts
        self.prompts = Prompts(parts)
        self.vocabulary = None if parts.tokenizer is None else Vocabulary(parts.tokenizer)
        self.defaults = Defaults.of(getattr(parts.model, "generation_config", None), parts.generate_kwargs)
        self.size = _vocabulary_size(parts)
        self.ends, self._stops = self._endings()
        self._warn_of_training()
        self._context = context or context_of(parts.model, parts.tokenizer)

    def _warn_of_training(self) -> None:
        """Say that a model in hand is not ready to answer: its layers still leave something out by chance."""
        if getattr(self.parts.model, "training", False) is True:
            warnings.warn(
                f"{self.parts.model_name} is in training mode, so answers may differ by chance; its eval() ends that",
                ModelwrapWarning,
                stacklevel=4,
            )

    def warn_of_settings(self) -> None:
        """Say what of a model's own settings is not followed by whoever does not call its own `generate`."""
        if self.defaults.passed_over:
            names = ", ".join(self.defaults.passed_over)
            warnings.warn(
                f"{self.parts.model_name}: its generation_config sets {names}, which is not followed here; with these "
                "in generate_kwargs its own generate is called instead",
                ModelwrapWarning,
                stacklevel=3,
            )

    def read(self, job: Job) -> Chat:
        """Read what a job asks and write its prompt; `BadRequest` names what this model cannot do."""
        asked = parameters.read(job.body, self.defaults, self.size)
        prompt = self.prompts.write(job.body["messages"], asked.tools, asked.template)
        return Chat(job.number, asked, prompt, Shape(self.parts, self.prompts.template.source, prompt, asked))

    def most_tokens(self, prompt: int, asked: Asked) -> int:
        """Say how many tokens an answer may have; `ContextTooLong` where there is room for none."""
        if not prompt:
            raise BadRequest("messages: nothing is left of them to be read", sent=False)
        own_memory = getattr(getattr(self.parts.model, "config", None), "is_encoder_decoder", False)
        # What an encoder reads takes no room from the answer.
        taken_up = 0 if own_memory else prompt
        whole = [limit for limit in (self._context, asked.longest) if limit is not None]
        for limit in whole if not own_memory else [self._context or prompt]:
            if prompt > limit or taken_up >= limit:
                raise ContextTooLong(
                    f"the prompt has {prompt} tokens, and prompt and answer together may have {limit}", sent=False
                )
        left = [limit - taken_up for limit in whole]
        usual = asked.most_tokens or (None if left else _LONGEST_ANSWER)
        return min([*left, usual] if usual else left)

    def answer(
        self,
        chat: Chat,
        prompt_tokens: int | None,
        most: int,
        *,
        streams: bool,
        closed: bool = False,
        before: Sequence[int] = (),
        whole: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Begin an answer: `before` are the tokens of its prompt, `whole` tells when a form is complete.

        `prompt_tokens` is None where nobody counted them. One that is `closed` was ended by its limit, also where its
        last token is an end.
        """
        asked = chat.asked
        ends, stops = (self.ends, self._stops) if asked.ends else (frozenset[int](), ())
        stops = (*asked.stops, *stops)
        goes_on = chat.prompt.goes_on
        detokenizer = self._detokenizer(chat, stops, before if goes_on else ())
        logprobs = None
        if asked.sampling.logprobs is not None and self.vocabulary and detokenizer:
            logprobs = Logprobs(self.vocabulary, detokenizer.hidden, begins=not goes_on)
        text, watch = self._text(chat, stops, detokenizer, streams)
        return Answer(
            chat.number,
            self.parts.model_name,
            prompt_tokens,
            Limits(most, ends, stops, whole, closed),
            text,
            chat.shape.reader,
            watch=watch,
            logprobs=logprobs,
            streams=streams,
            tells_usage=asked.tells_usage,
            only_one_call=asked.one_call,
        )

    def _skips_special(self, chat: Chat) -> bool:
        asked = chat.asked.skip_special
        if asked is not None:
            return asked
        return bool(self.parts.decode_kwargs.get("skip_special_tokens", True)) and chat.shape.skips_special

    def _detokenizer(self, chat: Chat, stops: Sequence[str], before: Sequence[int]) -> Detokenizer | None:
        if self.vocabulary is None:
            return None
        # A stop that is a special token has to be seen to be found, and is not told then.
        marks = (self.vocabulary.id_of(mark) for mark in (*chat.shape.reader.marks, *stops))
        shown = [mark for mark in marks if mark is not None]
        return Detokenizer(self.vocabulary, skip_special=self._skips_special(chat), shown=shown, before=before)

    def _text(
        self, chat: Chat, stops: Sequence[str], detokenizer: Detokenizer | None, streams: bool
    ) -> tuple[Text, Text | None]:
        """Give what makes the text, and what watches for stops where that makes it in the end only."""
        named = self.parts.decode_kwargs
        decode = self.parts.decode
        if detokenizer is None:
            assert decode is not None
            return HookedText(partial(decoded, decode, named)), None
        if decode is not None or named.keys() - {"skip_special_tokens"}:
            decode = decode or self.parts.tokenizer.decode
            named = {**taken(decode, {"skip_special_tokens": self._skips_special(chat)}), **named}
            return HookedText(partial(decoded, decode, named)), detokenizer if stops else None
        if streams or stops or chat.asked.sampling.logprobs is not None:
            return detokenizer, None
        return HookedText(detokenizer.whole), None

    def _endings(self) -> tuple[frozenset[int], tuple[str, ...]]:
        """Give what ends answers: tokens, and texts that are no token."""
        own = getattr(self.parts.tokenizer, "eos_token_id", None)
        ends = {*self.defaults.ends, *([] if own is None else [own])}
        given = self.parts.end_of_text
        stops: list[str] = []
        for end in (*(given if isinstance(given, (list, tuple)) else [given]), *self.prompts.template.ends):
            token = self.vocabulary.id_of(end) if isinstance(end, str) and self.vocabulary else end
            if isinstance(token, int):
                ends.add(token)
            elif isinstance(end, str):
                stops.append(end)
            elif end is not None:
                raise ConfigError(
                    f"model_info: end_of_text must be a text, a token or a list of these, not {end!r:.60}"
                )
        return frozenset(ends), tuple(stops)


class Shape:
    """Say how one answer is bound, what of it the prompt begins, and how it is read."""

    def __init__(self, parts: ModelParts, source: str, prompt: Prompt, asked: Asked) -> None:
        self.schema: Any = None
        self.pattern: str | None = None
        self.skips_special = True
        self.reader: AnswerReader = PlainReader()
        self._parts = parts
        self._source = source
        thinks = prompt.thinks
        if thinks and (asked.forced or asked.bound):
            # What has to have a form comes right behind.
            prompt.add("\n</think>\n\n")
        if asked.forced:
            self._force(prompt, asked)
        elif asked.bound is not None:
            self._bind(prompt, asked)
        else:
            self._read(prompt, asked, "<think>" if thinks else "")

    def _force(self, prompt: Prompt, asked: Asked) -> None:
        form = form_of(self._source)
        tools = {name: schema for name, schema in tools_of(asked.tools).items() if name in asked.forced}
        if form.opening is None or (form.names_first and len(tools) > 1):
            raise UnsupportedParameter(
                "tool_choice: this model writes calls in a form that cannot be forced"
                + ("; name one tool" if form.opening is not None else "; leave it at auto"),
                sent=False,
            )
        name = next(iter(tools)) if form.names_first else None
        prompt.add(form.opening.replace("{}", name or ""))
        self.schema = forced_schema(form, tools)
        self.reader = ForcedReader(name)

    def _bind(self, prompt: Prompt, asked: Asked) -> None:
        assert asked.bound is not None
        self.schema, self.pattern = asked.bound.schema, asked.bound.pattern
        if form_of(self._source) is HARMONY:
            prompt.add("<|channel|>final<|message|>")

    def _read(self, prompt: Prompt, asked: Asked, opening: str) -> None:
        tokenizer = self._parts.tokenizer
        if getattr(tokenizer, "response_template", None) and self._parts.apply_chat_template is None:
            parser = tokenizer.get_response_parser(prefix=prompt.text, tools=list(asked.tools) or None)
            self.reader = TemplateReader(parser)
            self.skips_special = False
        else:
            self.reader = reader_of(self._source, tools_of(asked.tools), opening)


def decoded(decode: Any, named: Mapping[str, Any], ids: list[int]) -> str:
    """Have a function make the text of tokens, which it gets as it would from `generate`."""
    import torch

    text = decode(torch.tensor(ids, dtype=torch.long), **named)
    if isinstance(text, (list, tuple)) and len(text) == 1:
        text = text[0]
    if not isinstance(text, str):
        raise TypeError(f"decode gave {text!r:.60} in place of a text")
    return text


def context_of(model: Any, tokenizer: Any) -> int | None:
    """Say how many tokens a model can hold; None where nobody knows."""
    known = getattr(_text_config(model), "max_position_embeddings", None) or getattr(
        tokenizer, "model_max_length", None
    )
    return int(known) if isinstance(known, (int, float)) and 0 < known < _NO_LIMIT else None


def _vocabulary_size(parts: ModelParts) -> int | None:
    known = getattr(_text_config(parts.model), "vocab_size", None)
    return known if known or parts.tokenizer is None else len(parts.tokenizer)


def _text_config(model: Any) -> Any:
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config
