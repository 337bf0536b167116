"""Vectors of texts: computed in batches of texts of like length, whoever asked for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelwrap.errors import BadRequest, ConfigError, InvalidResponse, ModelwrapError, ServerFailed
from modelwrap.local.transformers.loading import Loaded
from modelwrap.local.transformers.pooling import PART_WEIGHTS, Layer, Reading
from modelwrap.local.transformers.prompts import readable
from modelwrap.local.transformers.threads import Threads
from modelwrap.local.work import Event, Failed, Finished, Job, Piece

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}

# Jobs of many texts wait outside, where another replica may take them.
_BATCHES_AHEAD = 4

_ANY_LENGTH = 1_000_000


@dataclass(slots=True)
class _Request:
    """Be a job, and the vectors of its texts as they are made."""

    number: int
    vectors: list[list[float] | None]
    dimensions: int | None
    tokens: int
    cut: list[int]
    first: int = 0
    """At which place of the call its texts begin."""
    unpooled: int = 0
    """How many tokens of a prompt in front of each text take no part in its vector."""
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.missing = len(self.vectors)


@dataclass(frozen=True, slots=True)
class _Text:
    request: _Request
    place: int
    tokens: list[int]


class EmbeddingRunner:
    """Compute vectors with one loaded model."""

    def __init__(self, loaded: Loaded, reading: Reading, batch_size: int, threads: Threads) -> None:
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._reading = reading
        self._batch_size = batch_size
        self._threads = threads
        self._longest = _longest(loaded, reading)
        self._layers = [_layer(layer, loaded.model) for layer in reading.layers]
        self._ahead: deque[_Text] = deque()
        self._requests: dict[int, _Request] = {}

    @property
    def room(self) -> int:
        if len(self._ahead) >= _BATCHES_AHEAD * self._batch_size:
            return 0
        return max(0, self._batch_size - len(self._requests))

    @property
    def busy(self) -> bool:
        return bool(self._ahead)

    def begin(self, job: Job) -> None:
        prompt = self._reading.prompt_of(job.body)
        first = job.body.get("first", 0)
        dimensions = self._dimensions(job.body)
        encoded = self._encoded([_text(given, place, prompt) for place, given in enumerate(job.body["input"], first)])
        for place, tokens in enumerate(encoded, first):
            if not tokens.ids:
                raise BadRequest(f"input[{place}]: is empty, and this model makes nothing of it", sent=False)
        cut = [place for place, tokens in enumerate(encoded) if tokens.was_longer]
        counted = sum(len(tokens.ids) for tokens in encoded)
        request = _Request(job.number, [None] * len(encoded), dimensions, counted, cut, first, self._unpooled(prompt))
        self._requests[job.number] = request
        texts = [_Text(request, place, tokens.ids) for place, tokens in enumerate(encoded)]
        self._ahead.extend(sorted(texts, key=lambda text: -len(text.tokens)))

    def cancel(self, number: int) -> None:
        if self._requests.pop(number, None) is not None:
            self._ahead = deque(text for text in self._ahead if text.request.number != number)

    def step(self) -> list[Event]:
        batch = [self._ahead.popleft() for _ in range(min(self._batch_size, len(self._ahead)))]
        failed: dict[int, ModelwrapError] = {}
        for text, vector in zip(batch, self._computed(batch), strict=True):
            if isinstance(vector, ModelwrapError):
                failed.setdefault(text.request.number, vector)
            else:
                text.request.vectors[text.place] = vector
                text.request.missing -= 1
        for number in failed:
            self.cancel(number)
        return [*self._finished(), *(Failed(number, error) for number, error in failed.items())]

    def share(self, devices: Sequence[str]) -> None:
        self._threads.share(devices)

    def close(self) -> None:
        self._threads.give_back()
        self._ahead.clear()
        self._requests.clear()
        del self._model

    def _finished(self) -> list[Event]:
        done = [request for request in self._requests.values() if not request.missing]
        events: list[Event] = []
        for request in done:
            del self._requests[request.number]
            events += [Piece(request.number, self._told(request)), Finished(request.number)]
        return events

    def _told(self, request: _Request) -> dict[str, Any]:
        return {
            "vectors": request.vectors,
            "tokens": request.tokens,
            "cut": request.cut,
            "longest": self._longest,
            "guessed": list(self._reading.guessed),
        }

    def _computed(self, batch: Sequence[_Text]) -> list[list[float] | ModelwrapError]:
        """Give the vector of each text; where memory does not suffice for all at once, of fewer at a time."""
        try:
            return list(self._vectors(batch))
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                failure = ServerFailed("there is not enough memory for this text", retryable=False, sent=False)
                failure.__cause__ = error.with_traceback(None)
                return [failure]
        middle = len(batch) // 2
        return [*self._computed(batch[:middle]), *self._computed(batch[middle:])]

    def _vectors(self, batch: Sequence[_Text]) -> list[list[float] | ModelwrapError]:
        with torch.inference_mode():
            ids, mask = self._padded([text.tokens for text in batch])
            hidden = self._model(input_ids=ids, attention_mask=mask)[0].float()
            for row, text in enumerate(batch):
                mask[row, : text.request.unpooled] = 0
            vectors = torch.cat([_POOLED[mode](hidden, mask) for mode in self._reading.modes], dim=-1)
            for layer in self._layers:
                vectors = layer(vectors)
        return [self._told_vector(vector, text) for vector, text in zip(vectors, batch, strict=True)]

    def _told_vector(self, vector: Tensor, text: _Text) -> list[float] | ModelwrapError:
        if text.request.dimensions is not None:
            vector = vector[: text.request.dimensions]
        if self._reading.normalize:
            vector = nn.functional.normalize(vector, dim=-1)
        if not bool(torch.isfinite(vector).all()):
            return InvalidResponse(
                f"input[{text.request.first + text.place}]: the model made a vector of it that holds no numbers"
            )
        numbers: list[float] = vector.tolist()
        return numbers

    def _padded(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, rows))
        fill = self._tokenizer.pad_token_id or 0
        device = self._model.device
        ids = torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        return ids, mask

    def _encoded(self, given: Sequence[str | list[int]]) -> list[_Tokens]:
        texts = [text.lower() if self._reading.lower_case else text for text in given if isinstance(text, str)]
        whole = iter(self._tokenizer(texts, verbose=False)["input_ids"] if texts else ())
        text_of = iter(texts)
        return [
            self._shortened(next(whole), next(text_of)) if isinstance(one, str) else self._checked(one) for one in given
        ]

    def _shortened(self, ids: list[int], text: str) -> _Tokens:
        if len(ids) <= self._longest:
            return _Tokens(ids)
        # Anew, because the tokens that begin and end a text belong to the shorter one as well.
        cut = self._tokenizer(text, truncation=True, max_length=self._longest)["input_ids"]
        return _Tokens(cut, was_longer=True)

    def _checked(self, ids: list[int]) -> _Tokens:
        most = self._model.get_input_embeddings().num_embeddings
        if any(type(token) is not int or not 0 <= token < most for token in ids):
            raise BadRequest(f"input: tokens are whole numbers below {most}", sent=False)
        return _Tokens(ids[: self._longest], was_longer=len(ids) > self._longest)

    def _unpooled(self, prompt: str) -> int:
        if self._reading.pools_prompt or not prompt:
            return 0
        # Without the token that ends a text.
        return len(self._tokenizer(prompt)["input_ids"]) - 1

    def _dimensions(self, body: Mapping[str, Any]) -> int | None:
        wanted = body.get("dimensions")
        if wanted is not None and (type(wanted) is not int or wanted < 1):
            raise BadRequest(f"dimensions: must be a whole number from 1 on, not {wanted!r}", sent=False)
        most = self._size
        if wanted is not None and wanted > most:
            raise BadRequest(f"dimensions: vectors of this model have {most}, not {wanted}", sent=False)
        return wanted

    @property
    def _size(self) -> int:
        if self._layers:
            size: int = self._layers[-1][0].out_features
            return size
        hidden: int = self._model.config.get_text_config().hidden_size
        return hidden * len(self._reading.modes)


@dataclass(frozen=True, slots=True)
class _Tokens:
    ids: list[int]
    was_longer: bool = False


def _text(given: Any, place: int, prompt: str) -> str | list[int]:
    if isinstance(given, str):
        return readable(f"{prompt}{given}".strip(), f"input[{place}]")
    if isinstance(given, list) and given and not prompt:
        return given
    what = "text, where a prompt stands in front of it" if prompt else "text or a list of tokens"
    raise BadRequest(f"input[{place}]: must be {what}, not {type(given).__name__}", sent=False)


def _longest(loaded: Loaded, reading: Reading) -> int:
    """Give how many tokens of a text count: what somebody says, and no more than the model can."""
    positions = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    said = reading.longest or getattr(loaded.tokenizer, "model_max_length", None)
    return int(min([length for length in (said, positions) if length and length < _ANY_LENGTH], default=_ANY_LENGTH))


def _layer(layer: Layer, model: Any) -> nn.Sequential:
    from safetensors.torch import load_file

    name = layer.activation.rpartition(".")[2]
    path = Path(layer.folder, PART_WEIGHTS)
    if name not in _ACTIVATIONS or not path.is_file():
        missing = f"an activation {name}, which is not known here" if path.is_file() else f"no {PART_WEIGHTS}"
        raise ConfigError(f"{layer.folder}: has {missing}")
    weights = load_file(path)
    weight, bias = weights["linear.weight"], weights.get("linear.bias")
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return nn.Sequential(linear, _ACTIVATIONS[name]()).to(model.device).float().eval()


def _cls(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[:, 0]


def _summed(hidden: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    spread = weights.unsqueeze(-1).to(hidden.dtype)
    return (hidden * spread).sum(1), spread.sum(1).clamp(min=1e-9)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    total, count = _summed(hidden, mask)
    return total / count


def _mean_sqrt(hidden: Tensor, mask: Tensor) -> Tensor:
    total, count = _summed(hidden, mask)
    return total / count.sqrt()


def _weighted(hidden: Tensor, mask: Tensor) -> Tensor:
    total, count = _summed(hidden, mask * torch.arange(1, mask.shape[1] + 1, device=mask.device))
    return total / count


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).max(1).values


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    places = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), places]


_POOLED = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted,
    "lasttoken": _last,
}
