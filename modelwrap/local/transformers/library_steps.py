"""A row of a model that has to be called as the library's own `generate` calls it, and in no other way."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modelwrap.local.transformers.rows import Outcome, Row, picked

# Their memories are of kinds of their own, their tokens have places that nobody else gives, or a prompt is read with
# what only they prepare.
_KINDS = frozenset(
    {
        "cpmant",
        "exaone4_5",
        "git",
        "hrm_text",
        "hunyuan_vl",
        "kosmos-2.5",
        "minimax",
        "moshi",
        "reformer",
        "xlm",
        "xlnet",
        "xlstm",
    }
)


def steps_as_library(model: Any) -> bool:
    """Tell whether a model is one of these."""
    return model.config.model_type in _KINDS


class LibraryBatch:
    """Hold one row, whose inputs the model prepares for itself."""

    def __init__(self, model: Any, row: Row, memory: Any) -> None:
        """`memory` is an empty one of the usual kind, for the models that take it."""
        self._model = model
        self._named = {"use_cache": True, **_lengthened(row.inputs, len(row.made))}
        if model._supports_default_dynamic_cache():
            self._named["past_key_values"] = memory
        self.rows = [row]

    def begin(self) -> list[Outcome]:
        """Compute all tokens of the row, and give its next."""
        if "position_ids" in inspect.signature(self._model.forward).parameters:
            self._named["position_ids"] = torch.arange(len(self.rows[0].tokens), device=self._model.device)[None]
        return self._compute(None, is_first_iteration=True)

    def step(self) -> list[Outcome]:
        return self._compute(1)

    def leave(self, row: Row) -> None:
        self.rows.remove(row)

    def _compute(self, last: int | None, **named: Any) -> list[Outcome]:
        model = self._model
        tokens = torch.tensor([self.rows[0].tokens], dtype=torch.long, device=model.device)
        inputs = model.prepare_inputs_for_generation(tokens, next_sequence_length=last, **named, **self._named)
        if (places := inputs.get("position_ids")) is not None and places.shape[-1] != inputs["input_ids"].shape[-1]:
            # A model that does not cut them to what is computed finds them itself.
            del inputs["position_ids"]
        output = model(**inputs, return_dict=True)
        self._named = model._update_model_kwargs_for_generation(output, self._named)
        return picked(self.rows, output.logits[:, -1])


def _lengthened(inputs: Mapping[str, Tensor], made: int) -> dict[str, Tensor]:
    """Say of the tokens that were made elsewhere what is said of those of a prompt: that they are no part of it."""
    named = dict(inputs)
    if made and (kinds := named.get("token_type_ids")) is not None:
        named["token_type_ids"] = torch.cat([kinds, kinds.new_zeros(1, made)], dim=1)
    return named
