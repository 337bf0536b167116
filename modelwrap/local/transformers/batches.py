"""Rows that are computed together: one batch that rows join at any time, or one for those that began together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    EncoderDecoderCache,
)

from modelwrap.local.transformers.lanes import Lanes
from modelwrap.local.transformers.library_steps import steps_as_library
from modelwrap.local.transformers.rows import Outcome, Row, in_halves, picked

# These find the place of each token by the mask, and need not be told.
_PLACED_BY_MASK = ("bloom", "mpt", "opt")
# The tokens of its prompts look ahead too, and would see what shorter prompts are filled up with.
_LOOKING_AHEAD = ("paligemma",)
# By this name a model is told which tokens look at which pictures, where its layers look at these apart from the text.
_LOOKS = "cross_attention_mask"


class Computing:
    """Know how a model wants to be called."""

    def __init__(self, model: Any, pad: int) -> None:
        self.model = model
        self.device: torch.device = model.device
        self.has_encoder = bool(model.config.is_encoder_decoder)
        self._pad = pad
        self._parameters = inspect.signature(_told(model).forward).parameters
        # A model whose pictures take places in two dimensions keeps here by how much its text is ahead of itself.
        self._ahead_at = next((part for part in model.modules() if hasattr(part, "rope_deltas")), None)

    @cached_property
    def joins(self) -> bool:
        """Whether rows of different ages can be computed together."""
        if self.remembers_in != "past_key_values" or self.steps_as_library:
            return False
        placed = "position_ids" in self._parameters or self.model.config.model_type in _PLACED_BY_MASK
        if self.has_encoder or not placed or _LOOKS in self._parameters:
            return False
        layers = self.memory().layers
        while layers and type(layers[-1]) is DummyLayer:
            # The last ones of some models remember nothing, and look at what the layers before them do.
            layers.pop()
        return {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}

    def memory(self) -> DynamicCache:
        """Make the memory of a row or a batch of its own, in layers of the kinds that the model has."""
        try:
            return DynamicCache(config=self.model.config.get_text_config(decoder=True))
        except (AttributeError, KeyError):
            # A config of somebody's own may not tell; then all layers are taken to be of the usual kind.
            return DynamicCache()

    @cached_property
    def steps_as_library(self) -> bool:
        """Whether the model is called as the library's own `generate` calls it, and in no other way."""
        return steps_as_library(self.model)

    @property
    def finds_places(self) -> bool:
        """Whether the model has to find the places of a prompt's tokens itself, row by row."""
        return self._ahead_at is not None

    def begin_together(self, first: Row, other: Row) -> bool:
        """Tell whether the prompts of two rows can be computed in one batch."""
        looks_ahead = self.model.config.model_type in _LOOKING_AHEAD
        if first.inputs or other.inputs or self.finds_places or looks_ahead or self.steps_as_library:
            return False
        return self.joins or (self.has_encoder and len(first.made) == len(other.made))

    @property
    def opening(self) -> list[int]:
        """What every answer of a model with an encoder begins with, and does not tell."""
        settings = self.model.generation_config
        named = (settings.decoder_start_token_id, getattr(self.model.config, "decoder_start_token_id", None))
        start = next((token for token in (*named, settings.bos_token_id) if token is not None), None)
        return [token for token in (start, settings.forced_bos_token_id) if token is not None]

    @cached_property
    def remembers_in(self) -> str | None:
        """By which name the model takes its memory; None where it has none of the usual kind.

        What a model keeps in its own modules is of the row that was computed last, and no use to others.
        """
        if any(hasattr(part, "recurrent_states") for part in self.model.modules()):
            return None
        return next((name for name in ("past_key_values", "cache_params") if name in self._parameters), None)

    @cached_property
    def _last_only(self) -> dict[str, int | Tensor]:
        """Tell a model that can be told so to score what follows the last token only.

        Given a count, it takes a slice of its states. Of several tokens that is no whole block of memory, and torch
        multiplies it on a processor with a copy of the whole vocabulary for each row; what a place picks is whole.
        """
        parameter = self._parameters.get("logits_to_keep")
        if parameter is None:
            return {}
        takes_places = "Tensor" in str(parameter.annotation) and not self._leaves_out_by_count
        if takes_places and all(weights.device.type == "cpu" for weights in self.model.parameters()):
            return {"logits_to_keep": torch.tensor([-1])}
        return {"logits_to_keep": 1}

    @property
    def _leaves_out_by_count(self) -> bool:
        """Whether the model, told a count, computes its later layers for the last tokens only, as Gemma 4 does.

        Layers that score tokens themselves, inside of another model, are told for that alone.
        """
        inner: Any = self.model.get_decoder() if hasattr(self.model, "get_decoder") else None
        if inner is self.model or not hasattr(inner, "get_output_embeddings") or inner.get_output_embeddings():
            return False
        return "logits_to_keep" in inspect.signature(inner.forward).parameters

    def __call__(self, cache: Any, **inputs: Any) -> Tensor:
        """Compute some tokens, and give the scores of what follows the last of each row."""
        if self.remembers_in is not None:
            inputs[self.remembers_in] = cache
        inputs |= self._last_only
        if "position_ids" in inputs and "position_ids" not in self._parameters:
            del inputs["position_ids"]
        scores: Tensor = self.model(**inputs, use_cache=cache is not None, return_dict=True).logits[:, -1]
        return scores

    def places(self, lengths: Sequence[int], ahead: Sequence[int]) -> Tensor:
        """Give the places of the tokens that follow rows of these lengths."""
        places = self.tensor([[sum(pair)] for pair in zip(lengths, ahead, strict=True)])
        return places.expand(3, -1, -1) if self.finds_places else places

    def begin_row(self) -> None:
        """Have the model forget how far the row before was ahead of itself."""
        if self._ahead_at is not None:
            self._ahead_at.rope_deltas = None

    def ahead(self) -> int:
        """Give by how much the text of the row that was computed last is ahead of itself."""
        found = None if self._ahead_at is None else self._ahead_at.rope_deltas
        return 0 if found is None else int(found.flatten()[0])

    def tensor(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(tokens, dtype=torch.long, device=self.device)

    def padded(self, tokens: Sequence[Sequence[int]], *, left: bool) -> tuple[Tensor, Tensor]:
        """Bring rows to one length, and mark what of them is theirs."""
        longest = max(map(len, tokens))
        rows = torch.full((len(tokens), longest), self._pad, dtype=torch.long)
        own = torch.zeros_like(rows)
        for place, row in enumerate(tokens):
            columns = slice(longest - len(row), longest) if left else slice(0, len(row))
            rows[place, columns] = torch.tensor(row)
            own[place, columns] = 1
        return rows.to(self.device), own.to(self.device)


def _told(model: Any) -> Any:
    """Give the model whose forward names what can be told: what torch compiles, and adapters of PEFT, only pass it on.

    Adapters that put tokens of their own in front do so at each call, which leaves no use for a memory.
    """
    model = getattr(model, "_orig_mod", model)
    adapter = getattr(model, "active_peft_config", None)
    return model if adapter is None or adapter.is_prompt_learning else model.get_base_model()


class Batch(Protocol):
    """Hold rows that get their next tokens together."""

    rows: list[Row]

    def step(self) -> list[Outcome]:
        """Give every row its next token."""

    def leave(self, row: Row) -> None: ...


class JoinedBatch:
    """Hold rows of any age; whoever comes joins between two steps."""

    def __init__(self, computing: Computing, most: int) -> None:
        self._computing = computing
        self._lanes = Lanes(most, computing.device)
        self._ahead: list[int] = []
        self.rows: list[Row] = []

    @property
    def lost(self) -> bool:
        """Whether the memory was broken while it grew."""
        return self._lanes.lost

    def join(self, rows: Sequence[Row]) -> list[Outcome]:
        """Compute the prompts of newcomers, and the first token of each."""
        computing = self._computing
        tokens = [row.tokens for row in rows]
        padded, own = computing.padded(tokens, left=True)
        cache = DynamicCache()
        inputs = dict(rows[0].inputs) if len(rows) == 1 else {}
        if not computing.finds_places:
            inputs["position_ids"] = (own.cumsum(-1) - 1).clamp(min=0)
        computing.begin_row()
        scores = computing(cache, input_ids=padded, attention_mask=own, **inputs)
        self._lanes.put(cache, list(map(len, tokens)))
        self.rows += rows
        self._ahead += [computing.ahead()] * len(rows)
        return picked(rows, scores)

    def step(self) -> list[Outcome]:
        self._lanes.reserve(len(self.rows))
        # What a part of a step has written is written again when the part is tried in halves.
        outcomes = in_halves(self._step, self.rows)
        self._lanes.advance()
        return outcomes

    def leave(self, row: Row) -> None:
        place = self.rows.index(row)
        self._lanes.take_out(place)
        self.rows[place], self._ahead[place] = self.rows[-1], self._ahead[-1]
        del self.rows[-1], self._ahead[-1]

    def _step(self, rows: Sequence[Row]) -> list[Outcome]:
        first = self.rows.index(rows[0])
        last = first + len(rows)
        cache, mask = self._lanes.look_at(first, last)
        scores = self._computing(
            cache,
            input_ids=self._computing.tensor([[row.made[-1]] for row in rows]),
            attention_mask=mask,
            position_ids=self._computing.places(self._lanes.lengths[first:last], self._ahead[first:last]),
        )
        return picked(rows, scores)


class OwnBatch:
    """Hold rows that began together, of a model whose memory cannot be laid together with that of other rows.

    With an encoder these are as many as came at once, else it is one row.
    """

    def __init__(self, computing: Computing, rows: Sequence[Row]) -> None:
        self._computing = computing
        self._told: dict[str, Any] = {}
        self._cache: Any = None
        self._ahead = 0
        self.rows = list(rows)

    def begin(self) -> list[Outcome]:
        """Compute the prompts, and the first token of each row."""
        computing = self._computing
        if not computing.has_encoder:
            (row,) = self.rows
            if computing.remembers_in is not None:
                self._cache = computing.memory()
            return self._begin_alone(row)
        self._cache = EncoderDecoderCache(computing.memory(), DynamicCache())
        padded, mask = computing.padded([row.prompt for row in self.rows], left=False)
        encoded = computing.model.get_encoder()(input_ids=padded, attention_mask=mask, return_dict=True)
        self._told = {"encoder_outputs": encoded, "attention_mask": mask}
        return self._compute([[*computing.opening, *row.made] for row in self.rows], {})

    def step(self) -> list[Outcome]:
        computing = self._computing
        if computing.has_encoder and computing.remembers_in is None:
            return self._compute([[*computing.opening, *row.made] for row in self.rows], {})
        if self._cache is None:
            return self._begin_alone(self.rows[0])
        inputs = {}
        if not self._computing.has_encoder:
            (row,) = self.rows
            inputs["position_ids"] = self._computing.places([len(row.tokens) - 1], [self._ahead])
            inputs |= _looking(row, 1)
        return self._compute([[row.made[-1]] for row in self.rows], inputs)

    def leave(self, row: Row) -> None:
        place = self.rows.index(row)
        del self.rows[place]
        if self.rows:
            kept = torch.tensor([other for other in range(len(self.rows) + 1) if other != place])
            self._cache.batch_select_indices(kept)
            self._told["attention_mask"] = self._told["attention_mask"][kept]
            encoded = self._told["encoder_outputs"]
            encoded.last_hidden_state = encoded.last_hidden_state[kept]

    def _begin_alone(self, row: Row) -> list[Outcome]:
        """Compute all tokens of a row."""
        computing, tokens = self._computing, row.tokens
        inputs = {**row.inputs, **_looking(row, len(tokens))}
        if not computing.finds_places:
            inputs["position_ids"] = computing.tensor([range(len(tokens))])
        computing.begin_row()
        outcomes = self._compute([tokens], inputs)
        self._ahead = computing.ahead()
        return outcomes

    def _compute(self, tokens: Sequence[Sequence[int]], inputs: Mapping[str, Tensor]) -> list[Outcome]:
        named = "decoder_input_ids" if self._computing.has_encoder else "input_ids"
        given = {named: self._computing.tensor(tokens), **self._told, **inputs}
        return picked(self.rows, self._computing(self._cache, **given))


def _looking(row: Row, last: int) -> dict[str, Tensor]:
    """Say which pictures its last tokens look at: those of the answer as the last of the prompt does."""
    if (mask := row.inputs.get(_LOOKS)) is None:
        return {}
    answer = mask[:, -1:].expand(-1, len(row.made), *mask.shape[2:])
    return {_LOOKS: torch.cat([mask, answer], dim=1)[:, -last:]}
