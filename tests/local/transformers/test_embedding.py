"""Vectors of texts, as a model's own files say that they are made."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

import modelwrap
from modelwrap.errors import BadRequest, ConfigError, UnsupportedParameter
from modelwrap.local.transformers.embedding import EmbeddingRunner
from modelwrap.local.transformers.loading import Checkpoint, load_encoder
from modelwrap.local.transformers.pooling import Reading
from modelwrap.local.transformers.threads import Threads
from modelwrap.local.work import Failed, Finished, Job, Piece
from tests.colours import Colour
from tests.local.transformers import tiny

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(60)]

CASE = Path(__file__).parent.parent.parent / "cases" / "transformers_embedding" / "minilm.json"
TEXTS = ["Name three rivers.", "The Rhine.", "What is the capital of France? " * 3]


def loaded(folder: Path, **config: Any) -> modelwrap.Model:
    named = {"config_name": "vectors", "model_type": "transformers_embedding", "model": str(folder)}
    return modelwrap.load({**named, **config})["vectors"]


@pytest.fixture
def model() -> Iterator[modelwrap.Model]:
    model = loaded(tiny.bert())
    yield model
    model.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Be a model whose files a test may change."""
    return Path(shutil.copytree(tiny.bert(), tmp_path / "model"))


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def hidden_of(text: str) -> Any:
    """Compute what comes out of the model for one text, and nothing of what is made of it."""
    parts = load_encoder(Checkpoint("bert", str(tiny.bert())), "cpu")
    with torch.inference_mode():
        return parts.model(**parts.tokenizer([text], return_tensors="pt")).last_hidden_state[0]


def test_a_trained_model_gives_the_vectors_of_sentence_transformers(colour: Colour) -> None:
    case = json.loads(CASE.read_text("utf-8"))
    model = loaded(tiny.minilm(), batch_size=2)

    reply = colour.call(model, case["texts"])
    model.close()

    for found, wanted in zip(reply.embeddings, case["vectors"], strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == 288
    assert [str(change) for change in reply.meta.changes] == ["input[4]: clamped, of it 256 tokens count"]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_vectors_are_pooled_as_the_files_say(pooling: str) -> None:
    model = loaded(tiny.bert(pooling))
    hidden = hidden_of(TEXTS[0])
    by_hand = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0).values, "lasttoken": hidden[-1]}[pooling]

    reply = model(TEXTS)
    model.close()

    assert reply.embeddings[0] == pytest.approx((by_hand / by_hand.norm()).tolist(), abs=1e-5)


def test_a_config_may_say_otherwise(folder: Path) -> None:
    hidden = hidden_of(TEXTS[0])
    model = loaded(folder, pooling="last", normalize=False)

    vector = model(TEXTS[0]).embeddings[0]
    model.close()

    assert vector == pytest.approx(hidden[-1].tolist(), abs=1e-5)


def test_several_poolings_and_a_linear_layer_follow_one_another(folder: Path) -> None:
    from safetensors.torch import save_file

    write(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True})
    kinds = ["Transformer", "Pooling", "Dense"]
    paths = ["", "1_Pooling", "2_Dense"]
    parts = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in zip(paths, kinds, strict=True)
    ]
    write(folder / "modules.json", parts)
    write(folder / "2_Dense" / "config.json", {"activation_function": "torch.nn.modules.activation.Tanh"})
    weight, bias = torch.randn(5, 64), torch.randn(5)
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
    hidden = hidden_of(TEXTS[0])
    pooled = torch.cat([hidden.max(0).values, hidden.mean(0)])
    model = loaded(folder)

    vector = model(TEXTS[0]).embeddings[0]
    model.close()

    assert vector == pytest.approx(torch.tanh(weight @ pooled + bias).tolist(), abs=1e-5)


def test_where_no_file_says_how_it_is_the_mean_and_the_reply_says_so(folder: Path) -> None:
    (folder / "modules.json").unlink()
    hidden = hidden_of(TEXTS[0])
    model = loaded(folder)

    reply = model(TEXTS[0])
    model.close()

    assert reply.embeddings[0] == pytest.approx(hidden.mean(0).tolist(), abs=1e-5)
    assert [change.what for change in reply.meta.changes] == ["pooling"]


def test_a_part_of_an_unknown_kind_is_refused_by_name(folder: Path) -> None:
    write(folder / "modules.json", [{"path": "", "type": "sentence_transformers.models.WordWeights"}])
    model = loaded(folder)

    with pytest.raises(ConfigError, match="a part of the kind WordWeights, which is not known here"):
        model("Hi")


@pytest.mark.parametrize(
    "name, text", [("modules.json", "{}"), ("modules.json", "[1]"), ("1_Pooling/config.json", "[]")]
)
def test_a_file_that_is_not_what_it_should_be_is_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)

    with pytest.raises(ConfigError, match=f"{name}: (should be a list|holds no JSON object)"):
        loaded(folder)("Hi")


def test_prompts_stand_in_front_of_texts(folder: Path) -> None:
    told = {"prompts": {"query": "ask: ", "document": ""}, "default_prompt_name": "query"}
    write(folder / "config_sentence_transformers.json", told)
    model = loaded(folder)
    plain = loaded(tiny.bert())

    usual, named, given = model("river"), model("river", prompt_name="document"), model("river", prompt="name a ")

    assert usual.embeddings == plain("ask: river").embeddings
    assert named.embeddings == plain("river").embeddings
    assert given.embeddings == plain("name a river").embeddings
    with pytest.raises(BadRequest, match="has no prompt 'passage'; it has 'query', 'document'"):
        model("river", prompt_name="passage")
    model.close()
    plain.close()


def test_a_prompt_may_take_no_part_in_the_vector(folder: Path) -> None:
    write(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True, "include_prompt": False})
    hidden = hidden_of("ask: river")
    prompt_tokens = len(hidden_of("ask: ")) - 1
    by_hand = hidden[prompt_tokens:].mean(0)
    model = loaded(folder)

    vector = model("river", prompt="ask: ").embeddings[0]
    model.close()

    assert vector == pytest.approx((by_hand / by_hand.norm()).tolist(), abs=1e-5)


def test_takes_texts_tokens_and_messages(colour: Colour, model: modelwrap.Model) -> None:
    text = colour.call(model, "river")
    listed = colour.call(model, ("river", "sea"))
    message = colour.call(model, {"role": "user", "content": "river"})
    tokens = colour.call(model, [4, 80, 5])

    assert text.embeddings[0] == pytest.approx(message.embeddings[0])
    assert text.embeddings[0] == pytest.approx(listed.embeddings[0], abs=1e-5)
    assert tokens.usage.prompt_tokens == 3
    assert text.model == text.meta.endpoint == str(tiny.bert())


def test_many_texts_come_back_in_their_order(model: modelwrap.Model) -> None:
    texts = [f"text {number} {'of many ' * (number % 5)}" for number in range(600)]

    together = model(texts)
    alone = [model(texts[place]).embeddings[0] for place in (0, 255, 256, 599)]

    assert len(together.embeddings) == 600
    for place, vector in zip((0, 255, 256, 599), alone, strict=True):
        assert together.embeddings[place] == pytest.approx(vector, abs=1e-5)


def test_shorter_vectors_keep_their_length_of_one(model: modelwrap.Model) -> None:
    whole, short = model("river"), model("river", dimensions=8)

    first = torch.tensor(whole.embeddings[0][:8])
    assert short.embeddings[0] == pytest.approx((first / first.norm()).tolist(), abs=1e-6)
    with pytest.raises(BadRequest, match="dimensions: vectors of this model have 32, not 33"):
        model("river", dimensions=33)


@pytest.mark.parametrize(
    "given, parameters, said",
    [
        ([], {}, "the list is empty"),
        ([3.5], {}, r"input\[0\]: must be text or a list of tokens, not float"),
        ([*["river"] * 300, 3.5], {}, r"input\[300\]: must be text or a list of tokens, not float"),
        (["river", "\ud800"], {}, r"input\[1\]: holds half of a surrogate pair"),
        ([[1_000_000]], {}, "tokens are whole numbers below"),
        ("river", {"dimensions": 0}, "dimensions: must be a whole number from 1 on"),
        ("river", {"encoding_format": "int8"}, "encoding_format: must be float or base64"),
        ("river", {"prompt": "a", "prompt_name": "b"}, "keep one"),
        ([[4, 5]], {"prompt": "a"}, "must be text, where a prompt stands in front"),
    ],
)
def test_what_it_cannot_read_is_refused(model: modelwrap.Model, given: Any, parameters: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        model(given, **parameters)


def test_a_text_of_no_tokens_is_refused_by_its_place() -> None:
    model = loaded(tiny.llama())

    with pytest.raises(BadRequest, match=r"input\[1\]: is empty, and this model makes nothing of it"):
        model(["river", ""])
    reply = model("river")
    model.close()

    assert len(reply.embeddings[0]) == 32


def test_no_config_makes_it_read_more_than_it_can() -> None:
    model = loaded(tiny.bert(), context=1000)

    reply = model("river " * 200)
    model.close()

    assert reply.usage.prompt_tokens == 64


def test_what_it_does_not_know_is_refused_or_left_out(model: modelwrap.Model) -> None:
    dropping = loaded(tiny.bert(), unsupported="drop")

    reply = dropping("river", temperature=0.5)

    with pytest.raises(UnsupportedParameter, match="temperature"):
        model("river", temperature=0.5)
    with pytest.raises(BadRequest, match="vectors come in one piece"):
        next(model.stream("river"))
    assert [str(change) for change in reply.meta.changes] == ["temperature: dropped, unknown here"]
    dropping.close()


def test_calls_of_many_callers_share_batches(model: modelwrap.Model) -> None:
    async def ask() -> list[Any]:
        return await asyncio.gather(*(model.acall(f"text {number}") for number in range(50)))

    replies = asyncio.run(ask())

    assert len({tuple(reply.embeddings[0]) for reply in replies}) == 50


def runner(batch_size: int = 4) -> EmbeddingRunner:
    return EmbeddingRunner(load_encoder(Checkpoint("bert", str(tiny.bert())), "cpu"), Reading(), batch_size, Threads())


def test_a_batch_that_does_not_fit_is_split_and_only_what_never_fits_fails() -> None:
    running = runner()
    model = running._model
    sizes: list[int] = []

    class Small:
        device, config = model.device, model.config

        def __call__(self, input_ids: Any, attention_mask: Any) -> Any:
            sizes.append(len(input_ids))
            if len(input_ids) > 1 or input_ids.shape[1] > 40:
                raise torch.OutOfMemoryError("too much")
            return model(input_ids=input_ids, attention_mask=attention_mask)

    running._model = Small()
    for number, text in enumerate(["one", "much " * 30, "three"], 1):
        running.begin(Job(number, {"input": [text]}))

    events = [event for _ in range(5) if running.busy for event in running.step()]

    assert sizes[0] == 3
    assert {event.number for event in events if isinstance(event, Finished)} == {1, 3}
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.number == 2
    assert "not enough memory for this text" in str(failed.error)


def test_a_job_that_is_cancelled_costs_nothing_more() -> None:
    running = runner(2)
    running.begin(Job(1, {"input": ["a"] * 10}))
    running.begin(Job(2, {"input": ["b"]}))

    running.cancel(1)
    running.cancel(99)
    events = running.step()

    assert [type(event) for event in events] == [Piece, Finished]
    assert {event.number for event in events} == {2}
    assert (running.busy, running.room) == (False, 2)


def test_in_a_process_of_its_own_the_vectors_are_the_same(model: modelwrap.Model) -> None:
    apart = loaded(tiny.bert(), worker="process")

    vectors = apart(TEXTS).embeddings

    for one, other in zip(vectors, model(TEXTS).embeddings, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    apart.close()


def test_replicas_come_and_go_while_it_serves(model: modelwrap.Model) -> None:
    replicas: Any = model
    before = model("river").embeddings

    replicas.add_replica("cpu")
    with_two = list(replicas.devices)
    replicas.remove_replica()

    assert with_two == ["auto", "cpu"]
    assert replicas.devices == ["auto"]
    assert model("river").embeddings == before
    assert type(replicas.live).__name__ == "BertModel"
