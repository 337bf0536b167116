"""Rows that come and go get the tokens that the library's own `generate` gives each of them alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
import transformers

from modelwrap.errors import InvalidResponse
from modelwrap.local.transformers.constraints import Grammars
from modelwrap.local.transformers.decoding import Broken, Decoder, Token
from modelwrap.local.transformers.rows import Row
from modelwrap.local.transformers.sampling import Sampling
from tests.local.transformers import tiny

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(120)]

VOCABULARY = 200
CLOSE = 1e-3


def made(config_class: Any, model_class: Any, **given: Any) -> Any:
    """Make a model of random numbers, wide enough apart that the likeliest token is so by more than rounding."""
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.4}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return model_class(config_class(vocab_size=VOCABULARY, **{**shape, **ends, **given})).eval()


def loaded(folder: Any, model_class: Any) -> Any:
    return model_class.from_pretrained(folder).eval()


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: loaded(tiny.llama(), transformers.LlamaForCausalLM),
    "gpt2": lambda: loaded(tiny.gpt2(), transformers.GPT2LMHeadModel),
    "mistral": lambda: made(
        transformers.MistralConfig, transformers.MistralForCausalLM, num_key_value_heads=2, sliding_window=8
    ),
    "gemma3": lambda: made(
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
    # Its later layers remember nothing of their own, and of prompts compute the last token only.
    "gemma4": lambda: made(
        transformers.Gemma4TextConfig,
        transformers.Gemma4ForCausalLM,
        num_hidden_layers=4,
        num_kv_shared_layers=2,
        num_key_value_heads=2,
        head_dim=8,
        global_head_dim=8,
        intermediate_size=64,
        sliding_window=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "opt": lambda: made(
        transformers.OPTConfig,
        transformers.OPTForCausalLM,
        ffn_dim=64,
        word_embed_proj_dim=32,
        init_std=0.4,
        dropout=0.0,
    ),
    "bloom": lambda: made(transformers.BloomConfig, transformers.BloomForCausalLM, n_head=4, hidden_dropout=0.0),
    "paligemma": lambda: transformers.PaliGemmaForConditionalGeneration(
        transformers.PaliGemmaConfig(
            text_config=made(
                transformers.GemmaConfig,
                transformers.GemmaForCausalLM,
                num_key_value_heads=2,
                head_dim=8,
                intermediate_size=64,
            ).config,
            vision_config=transformers.SiglipVisionConfig(
                hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28
            ),
            projection_dim=32,
            vocab_size=VOCABULARY,
        )
    ).eval(),
    "mixtral": lambda: made(
        transformers.MixtralConfig,
        transformers.MixtralForCausalLM,
        num_key_value_heads=2,
        intermediate_size=64,
        num_local_experts=4,
    ),
    "mamba": lambda: made(transformers.MambaConfig, transformers.MambaForCausalLM, state_size=4),
    "rwkv": lambda: made(transformers.RwkvConfig, transformers.RwkvForCausalLM, attention_hidden_size=32),
    "bamba": lambda: made(
        transformers.BambaConfig,
        transformers.BambaForCausalLM,
        num_key_value_heads=2,
        intermediate_size=64,
        attn_layer_indices=[1],
        mamba_n_heads=8,
        mamba_d_head=8,
        mamba_d_state=4,
        mamba_chunk_size=4,
    ),
    "recurrent_gemma": lambda: made(
        transformers.RecurrentGemmaConfig,
        transformers.RecurrentGemmaForCausalLM,
        num_key_value_heads=1,
        intermediate_size=64,
        attention_window_size=64,
        block_types=["recurrent", "attention"],
    ),
    "qwen2_vl": lambda: loaded(tiny.qwen2_vl(), transformers.Qwen2VLForConditionalGeneration),
    "t5": lambda: loaded(tiny.t5(), transformers.T5ForConditionalGeneration),
    "bart": lambda: loaded(tiny.bart(), transformers.BartForConditionalGeneration),
    # Its config does not say with what answers begin.
    "longt5": lambda: made(
        transformers.LongT5Config,
        transformers.LongT5ForConditionalGeneration,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=2,
        initializer_factor=2.0,
        dropout_rate=0.0,
    ),
}

# Called as nothing but `generate` calls them.
SELF_WILLED: dict[str, Callable[[], Any]] = {
    "minimax": lambda: made(
        transformers.MiniMaxConfig,
        transformers.MiniMaxForCausalLM,
        num_key_value_heads=2,
        intermediate_size=64,
        num_local_experts=4,
        block_size=8,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    ),
    "xlnet": lambda: made(
        transformers.XLNetConfig,
        transformers.XLNetLMHeadModel,
        d_model=32,
        n_layer=2,
        n_head=4,
        d_inner=64,
        dropout=0.0,
    ),
    "xlm": lambda: transformers.XLMWithLMHeadModel(
        transformers.XLMConfig(
            n_words=VOCABULARY,
            emb_dim=32,
            n_layers=2,
            n_heads=4,
            dropout=0.0,
            attention_dropout=0.0,
            embed_init_std=0.5,
            init_std=0.4,
        )
    ).eval(),
    "moshi": lambda: made(
        transformers.MoshiConfig,
        transformers.MoshiForCausalLM,
        num_key_value_heads=2,
        ffn_dim=64,
        head_dim=8,
        audio_vocab_size=50,
        max_position_embeddings=128,
    ),
    "kosmos-2.5": lambda: transformers.Kosmos2_5ForConditionalGeneration(
        transformers.Kosmos2_5Config(
            text_config={
                "vocab_size": VOCABULARY,
                "embed_dim": 32,
                "layers": 2,
                "ffn_dim": 64,
                "attention_heads": 4,
                "init_std": 0.4,
                "dropout": 0.0,
                "attention_dropout": 0.0,
                "max_position_embeddings": 128,
            },
            vision_config={
                "hidden_size": 16,
                "patch_embed_hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "head_dim": 8,
                "intermediate_size": 32,
            },
        )
    ).eval(),
    "git": lambda: made(
        transformers.GitConfig,
        transformers.GitForCausalLM,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        vision_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    ),
    "cpmant": lambda: made(
        transformers.CpmAntConfig,
        transformers.CpmAntForCausalLM,
        dim_head=8,
        dim_ff=64,
        init_std=0.4,
        dropout_p=0.0,
    ),
    "hrm_text": lambda: made(
        transformers.HrmTextConfig,
        transformers.HrmTextForCausalLM,
        intermediate_size=64,
        head_dim=8,
        H_cycles=1,
        L_cycles=1,
    ),
    "reformer": lambda: made(
        transformers.ReformerConfig,
        transformers.ReformerModelWithLMHead,
        is_decoder=True,
        axial_pos_embds=False,
        attn_layers=["local", "local"],
        local_attn_chunk_length=64,
        attention_head_size=8,
        feed_forward_size=64,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
    ),
}


def prompts(count: int, *, seed: int = 5) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(5, VOCABULARY) for _ in range(chance.randrange(1, 30))] for _ in range(count)]


def alone(model: Any, prompt: Sequence[int], most: int, **named: Any) -> list[int]:
    """Give what the library makes of one prompt."""
    found = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=most,
        min_new_tokens=most,
        do_sample=False,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
        # An end is a token like others here.
        eos_token_id=VOCABULARY * 9,
        **named,
    )
    tokens: list[int] = found.sequences[0, -most:].tolist()
    # Where two tokens are as good as equal, rounding decides, and everything behind is another answer.
    for place, scores in enumerate(found.logits):
        first, second = scores[0].topk(2).values
        if first - second < CLOSE:
            return tokens[:place]
    return tokens


def answers(decoder: Decoder, rows: Sequence[Row], most: int, *, every: int = 0) -> dict[int, list[int]]:
    """Have rows computed, one of them coming in every so many steps."""
    got: dict[int, list[int]] = {row.number: [] for row in rows}
    waiting = list(rows)
    while waiting or decoder.busy:
        for row in [waiting.pop(0)] if every and waiting else waiting[:]:
            decoder.join(row)
        waiting = waiting if every else []
        for _ in range(every or 1):
            for told in decoder.step():
                assert isinstance(told, Token), told
                got[told.number].append(told.id)
                if len(got[told.number]) == most:
                    decoder.leave(told.number)
    return got


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("every", [0, 3])
def test_rows_of_any_age_get_the_tokens_that_each_gets_alone(kind: str, every: int) -> None:
    model = MODELS[kind]()
    asked = prompts(8)

    rows = [Row(number, prompt, Sampling()) for number, prompt in enumerate(asked)]
    got = answers(Decoder(model, batch_size=5 if every else 8), rows, 12, every=every)

    expected = [alone(model, prompt, 12) for prompt in asked]
    assert [got[number][: len(tokens)] for number, tokens in enumerate(expected)] == expected
    assert sum(map(len, expected)) > 60, "the random model is too often in doubt to show anything"


@pytest.mark.parametrize("kind", SELF_WILLED)
def test_models_of_their_own_ways_are_called_as_the_library_calls_them(kind: str) -> None:
    torch.manual_seed(3)
    model, asked = SELF_WILLED[kind](), prompts(4)
    expected = [alone(model, prompt, 9) for prompt in asked]

    rows = [Row(number, prompt, Sampling()) for number, prompt in enumerate(asked)]
    got = answers(Decoder(model, batch_size=3), rows, 9, every=3)
    taken_over = [Row(n, p, Sampling(), made=list(got[n][:4])) for n, p in enumerate(asked)]
    rest = answers(Decoder(model, batch_size=4), taken_over, 5)

    assert [got[number][: len(tokens)] for number, tokens in enumerate(expected)] == expected
    if kind not in ("cpmant", "xlnet"):
        # Tokens of these look ahead, as far as they are computed together.
        assert [[*got[n][:4], *rest[n]][: len(tokens)] for n, tokens in enumerate(expected)] == expected
    assert sum(map(len, expected)) > 18, "the random model is too often in doubt to show anything"


@pytest.mark.parametrize("kind", ["llama", "t5", "bart"])
def test_a_penalty_is_of_what_the_library_takes_it_to_be(kind: str) -> None:
    model, asked = MODELS[kind](), prompts(6)

    rows = [Row(number, prompt, Sampling(repetition_penalty=1.3)) for number, prompt in enumerate(asked)]
    got = answers(Decoder(model, batch_size=6), rows, 12)

    expected = [alone(model, prompt, 12, repetition_penalty=1.3) for prompt in asked]
    assert [got[number][: len(tokens)] for number, tokens in enumerate(expected)] == expected
    assert sum(map(len, expected)) > 40


def test_what_ages_rows_can_have_together_depends_on_the_kind_of_model() -> None:
    joins = {kind: Decoder(make(), batch_size=2)._computing.joins for kind, make in MODELS.items()}

    assert {kind for kind, can in joins.items() if not can} == {
        "bamba",
        "mamba",
        "recurrent_gemma",
        "rwkv",
        "t5",
        "bart",
        "longt5",
    }


@pytest.mark.parametrize("kind", ["llama", "qwen2_vl", "t5", "mamba"])
def test_an_answer_goes_on_behind_tokens_that_were_made_elsewhere(kind: str) -> None:
    model = MODELS[kind]()
    asked = prompts(3)
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=11)

    whole = answers(Decoder(model, batch_size=3), [Row(n, p, sampling) for n, p in enumerate(asked)], 12)
    begun = {number: tokens[: 3 + number] for number, tokens in whole.items()}
    rows = [Row(n, p, sampling, made=list(begun[n])) for n, p in enumerate(asked)]
    rest = answers(Decoder(model, batch_size=3), rows, 7)

    assert [[*begun[n], *rest[n]][:10] for n in range(3)] == [whole[n][:10] for n in range(3)]


def test_a_seed_gives_the_same_answer_whatever_else_is_computed() -> None:
    model = MODELS["llama"]()
    asked = prompts(9)
    sampling = Sampling(temperature=1.0, top_k=20, top_p=0.95, min_p=0.01, seed=42)

    one = answers(Decoder(model, batch_size=1), [Row(0, asked[0], sampling)], 20)[0]
    others = [Row(n, p, Sampling(temperature=1.3)) for n, p in enumerate(asked[1:], 1)]
    among = answers(Decoder(model, batch_size=9), [*others[:4], Row(0, asked[0], sampling), *others[4:]], 20, every=2)

    assert among[0] == one


def test_a_row_that_leaves_makes_room_and_disturbs_nobody() -> None:
    model = MODELS["llama"]()
    asked = prompts(6)
    decoder = Decoder(model, batch_size=3)
    got: dict[int, list[int]] = {number: [] for number in range(6)}
    for number, prompt in enumerate(asked):
        decoder.join(Row(number, prompt, Sampling()))

    steps = 0
    while decoder.busy:
        for told in decoder.step():
            assert isinstance(told, Token)
            got[told.number].append(told.id)
            if len(got[told.number]) == 10:
                decoder.leave(told.number)
        steps += 1
        if steps == 4:
            decoder.leave(1)
            decoder.leave(5)

    assert {number: len(tokens) for number, tokens in got.items()} == {0: 10, 1: len(got[1]), 2: 10, 3: 10, 4: 10, 5: 0}
    assert len(got[1]) < 10
    for number in (0, 2, 3, 4):
        expected = alone(model, asked[number], 10)
        assert got[number][: len(expected)] == expected


class Failing:
    """Stand before a model and fail where a prompt has a certain token, or where too many rows come at once."""

    def __init__(self, model: Any, *, token: int | None = None, most: int | None = None) -> None:
        self.token, self.most = token, most
        self.failures = 0
        model.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, model: Any, arguments: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        tokens = inputs["decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"]
        too_many = self.most is not None and len(tokens) > self.most
        if too_many or (self.token is not None and (tokens == self.token).any()):
            self.failures += 1
            raise torch.OutOfMemoryError("no more of it")


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_a_prompt_that_breaks_the_model_breaks_alone(kind: str) -> None:
    model = MODELS[kind]()
    asked = prompts(6)
    asked[3] = [*asked[3], 199]
    asked = [
        prompt if number == 3 else [token for token in prompt if token != 199] for number, prompt in enumerate(asked)
    ]
    expected = [alone(model, prompt, 8) for prompt in asked]
    Failing(model, token=199)

    decoder = Decoder(model, batch_size=6)
    got: dict[int, list[int]] = {number: [] for number in range(6)}
    broken = []
    for number, prompt in enumerate(asked):
        decoder.join(Row(number, prompt, Sampling(logit_bias={199: -1000})))
    while decoder.busy:
        for told in decoder.step():
            if isinstance(told, Broken):
                broken.append(told)
                continue
            got[told.number].append(told.id)
            if len(got[told.number]) == 8:
                decoder.leave(told.number)

    assert [(told.number, type(told.error)) for told in broken] == [(3, torch.OutOfMemoryError)]
    for number in (0, 1, 2, 4, 5):
        likely = expected[number]
        # The token that was made unlikely here is left to the other.
        cut = likely.index(199) if 199 in likely else len(likely)
        assert got[number][:cut] == likely[:cut]


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_batch_that_does_not_fit_is_computed_in_parts(kind: str) -> None:
    model = MODELS[kind]()
    asked = prompts(6)
    expected = [alone(model, prompt, 8) for prompt in asked]
    failing = Failing(model, most=2)

    got = answers(Decoder(model, batch_size=6), [Row(n, p, Sampling()) for n, p in enumerate(asked)], 8)

    assert failing.failures > 0
    assert [got[number][: len(tokens)] for number, tokens in enumerate(expected)] == expected


def test_memory_that_cannot_grow_costs_time_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelwrap.local.transformers import lanes

    model = MODELS["llama"]()
    asked = prompts(6)
    expected = [alone(model, prompt, 8) for prompt in asked]
    moved = lanes._moved

    def refusing(block: Any, kept: int, old: slice, rows: int, columns: int, end: int) -> Any:
        if rows > 3 and block.shape[-1] > 1:
            raise torch.OutOfMemoryError("no more of it")
        return moved(block, kept, old, rows, columns, end)

    monkeypatch.setattr(lanes, "_moved", refusing)
    got = answers(Decoder(model, batch_size=6), [Row(n, p, Sampling()) for n, p in enumerate(asked)], 8)

    assert [got[number][: len(tokens)] for number, tokens in enumerate(expected)] == expected


def test_a_model_that_computes_no_numbers_is_told_so() -> None:
    model = MODELS["llama"]()
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    decoder = Decoder(model, batch_size=2)
    decoder.join(Row(1, [5, 6], Sampling()))

    (told,) = decoder.step()

    assert isinstance(told, Broken)
    assert isinstance(told.error, InvalidResponse)
    assert not decoder.busy


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_of_prompts_the_last_token_alone_is_scored_and_by_its_place(kind: str) -> None:
    """A slice of the states of many prompts is no whole block, and slow to multiply with on a processor."""
    model = MODELS[kind]()
    asked: list[Any] = []
    model.register_forward_pre_hook(lambda _, args, given: asked.append(given.get("logits_to_keep")), with_kwargs=True)
    scored: list[tuple[int, ...]] = []
    model.register_forward_hook(lambda _, args, output: scored.append(tuple(output.logits.shape[:2])))

    answers(Decoder(model, batch_size=4), [Row(n, p, Sampling()) for n, p in enumerate(prompts(4))], 2)

    assert all(shape == (4, 1) for shape in scored), scored
    assert all(isinstance(kept, torch.Tensor) and kept.tolist() == [-1] for kept in asked)


def test_layers_that_remember_nothing_compute_the_last_token_of_prompts_only() -> None:
    model = MODELS["gemma4"]()
    seen: list[tuple[int, ...]] = []
    model.model.layers[-1].register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[:2])))

    answers(Decoder(model, batch_size=4), [Row(n, p, Sampling()) for n, p in enumerate(prompts(4))], 2)

    assert seen == [(4, 1), (4, 1)]


def test_a_model_that_takes_a_count_of_scores_only_is_given_one() -> None:
    class Older(transformers.LlamaForCausalLM):
        def forward(self, input_ids: Any = None, logits_to_keep: int = 0, **given: Any) -> Any:
            assert logits_to_keep == 1
            return super().forward(input_ids, logits_to_keep=logits_to_keep, **given)

    decoder = Decoder(loaded(tiny.llama(), Older), batch_size=4)

    got = answers(decoder, [Row(n, p, Sampling()) for n, p in enumerate(prompts(3))], 4)

    assert [len(tokens) for tokens in got.values()] == [4, 4, 4]


class Adapter(torch.nn.Module):
    """Wrap a model as PEFT does: what its forward does not name goes on to the model inside."""

    def __init__(self, model: Any, *, is_prompt_learning: bool) -> None:
        super().__init__()
        self.base_model = model
        self.active_peft_config = SimpleNamespace(is_prompt_learning=is_prompt_learning)

    def get_base_model(self) -> Any:
        return self.base_model

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base_model, name)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **given: Any) -> Any:
        if self.active_peft_config.is_prompt_learning:
            given.pop("past_key_values", None)
        return self.base_model(input_ids=input_ids, attention_mask=attention_mask, **given)


@pytest.mark.parametrize("is_prompt_learning", [False, True])
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_model_in_an_adapter_answers_as_the_library_has_it(kind: str, is_prompt_learning: bool) -> None:
    model, asked = MODELS[kind](), prompts(4)
    decoder = Decoder(Adapter(model, is_prompt_learning=is_prompt_learning), batch_size=4)

    got = answers(decoder, [Row(n, p, Sampling()) for n, p in enumerate(asked)], 8)

    expected = [alone(model, prompt, 8) for prompt in asked]
    assert [got[number][: len(tokens)] for number, tokens in enumerate(expected)] == expected
    assert decoder._computing.joins == (kind == "llama" and not is_prompt_learning)


def test_a_compiled_model_is_told_what_the_model_is_told() -> None:
    # Nothing is compiled before it is computed.
    llama, t5 = (torch.compile(MODELS[kind](), backend="eager") for kind in ("llama", "t5"))

    decoders = [Decoder(model, batch_size=2) for model in (llama, t5)]

    assert [decoder._computing.joins for decoder in decoders] == [True, False]
    assert [decoder._computing.remembers_in for decoder in decoders] == ["past_key_values"] * 2


def test_a_newcomer_waits_for_no_more_than_one_step_of_the_others() -> None:
    decoder = Decoder(MODELS["llama"](), batch_size=8)
    for number, prompt in enumerate(prompts(4)):
        decoder.join(Row(number, prompt, Sampling()))
    for _ in range(3):
        decoder.step()

    for number in (4, 5, 6):
        decoder.join(Row(number, [7, 8, 9], Sampling()))
        steps = [{told.number for told in decoder.step()} for _ in range(2)]
        assert number in set().union(*steps)


def test_answers_keep_to_a_schema_and_to_a_pattern_in_one_batch() -> None:
    import json
    import re

    model, tokenizer = MODELS["llama"](), tiny.tokenizer()
    grammars = Grammars.of(tokenizer, model.config.vocab_size, [tokenizer.eos_token_id])
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "maximum": 99}, "of": {"enum": ["a", "b"]}},
        "required": ["age", "of"],
        "additionalProperties": False,
    }
    decoder = Decoder(model, batch_size=4)
    rows = [
        Row(0, [60, 61], Sampling(), grammars.json_schema(schema)),
        Row(1, [60, 61, 62], Sampling(temperature=1.0, seed=1), grammars.regex(r"\d{3}-[a-f]{2}")),
        Row(2, [63], Sampling()),
    ]
    got: dict[int, list[int]] = {row.number: [] for row in rows}
    for row in rows:
        decoder.join(row)
    while decoder.busy:
        for told in decoder.step():
            assert isinstance(told, Token), told
            got[told.number].append(told.id)
            if told.id == tokenizer.eos_token_id or len(got[told.number]) == 60:
                decoder.leave(told.number)

    told_schema, told_pattern, free = (tokenizer.decode(tokens, skip_special_tokens=True) for tokens in got.values())
    assert json.loads(told_schema)["of"] in ("a", "b")
    assert re.fullmatch(r"\d{3}-[a-f]{2}", told_pattern)
    assert free != told_pattern


def test_how_far_a_picture_moves_the_text_is_forgotten_with_its_row() -> None:
    model = MODELS["qwen2_vl"]()
    asked = prompts(3)
    expected = [alone(model, prompt, 10) for prompt in asked]
    decoder = Decoder(model, batch_size=3)
    model.model.rope_deltas = torch.tensor([[-7]])

    got = answers(decoder, [Row(n, p, Sampling()) for n, p in enumerate(asked)], 10)

    assert [got[number][: len(tokens)] for number, tokens in enumerate(expected)] == expected


def test_a_picture_moves_the_text_of_its_own_row_only_in_a_model_whose_rows_have_memories_of_their_own() -> None:
    model, picture = qwen3_5(), 190
    seen = [[7, *[picture] * 9, 8], [7, 8, *[picture] * 4, 9], [7, 8, 9, 10, 11]]
    rows = [Row(number, prompt, Sampling(), inputs=pictures(prompt, picture)) for number, prompt in enumerate(seen)]
    expected = [generated(model, row, 10) for row in rows]

    got = answers(Decoder(model, batch_size=3), rows, 10)

    assert list(got.values()) == expected


def qwen3_5() -> Any:
    """Make a model that sees, and of whose layers every other one remembers no single token."""
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "initializer_range": 0.4,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
            "mrope_section": [1, 1, 2],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 32,
        "out_hidden_size": 32,
        "patch_size": 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 64,
    }
    marks = {"image_token_id": 190, "video_token_id": 191, "vision_start_token_id": 192, "vision_end_token_id": 193}
    torch.manual_seed(3)
    config = transformers.Qwen3_5Config(text_config=text, vision_config=vision, **marks)
    return transformers.Qwen3_5ForConditionalGeneration(config).eval()


def pictures(prompt: Sequence[int], picture: int) -> dict[str, torch.Tensor]:
    """Make one picture that takes the places that a prompt has for it, in a square."""
    places = prompt.count(picture)
    side = 2 * math.isqrt(places)
    if not places:
        return {}
    return {
        "pixel_values": torch.randn(places * 4, 3 * 2 * 2 * 2, generator=torch.Generator().manual_seed(places)),
        "image_grid_thw": torch.tensor([[1, side, side]]),
        "mm_token_type_ids": torch.tensor([[int(token == picture) for token in prompt]]),
    }


def generated(model: Any, row: Row, most: int) -> list[int]:
    found = model.generate(
        torch.tensor([row.prompt]), **row.inputs, max_new_tokens=most, do_sample=False, pad_token_id=0
    )
    tokens: list[int] = found[0, len(row.prompt) :].tolist()
    return tokens


def test_layers_that_look_at_a_picture_apart_from_the_text_see_that_of_their_own_row() -> None:
    model, picture = mllama(), 190
    asked = [[1, picture, 50, 51, 52], [1, picture, *range(60, 80)], [1, 7, 8, 9]]
    rows = [Row(n, p, Sampling(), inputs=tiles(p) if picture in p else {}) for n, p in enumerate(asked)]
    expected = [generated(model, row, 10) for row in rows]
    begun = Row(0, asked[0], Sampling(), inputs=rows[0].inputs, made=expected[0][:4])

    got = answers(Decoder(model, batch_size=3), rows, 10)
    rest = answers(Decoder(model, batch_size=3), [begun], 6)

    assert list(got.values()) == expected
    assert rest[0] == expected[0][4:]


def mllama() -> Any:
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.4,
        "cross_attention_layers": [1],
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_global_layers": 1,
        "attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "max_num_tiles": 2,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 32,
        "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
    }
    torch.manual_seed(3)
    config = transformers.MllamaConfig(text_config=text, vision_config=vision, image_token_index=190)
    model = transformers.MllamaForConditionalGeneration(config).eval()
    for name, parameter in model.named_parameters():
        if "gate" in name:
            # Closed, as they are made, they let nothing of a picture through.
            parameter.data.fill_(1.0)
    return model


def tiles(prompt: Sequence[int]) -> dict[str, torch.Tensor]:
    """Make a picture in two tiles that every token looks at."""
    chance = torch.Generator().manual_seed(len(prompt))
    return {
        "pixel_values": torch.randn(1, 1, 2, 3, 28, 28, generator=chance),
        "aspect_ratio_ids": torch.tensor([[2]]),
        "aspect_ratio_mask": torch.ones(1, 1, 2, dtype=torch.long),
        "cross_attention_mask": torch.ones(1, len(prompt), 1, 2, dtype=torch.long),
    }
