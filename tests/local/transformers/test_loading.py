"""From a folder to a model: what is wrong with one is said in words, and code in it runs only where it may."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

import modelwrap
from modelwrap.errors import BadRequest, ConfigError, MissingPackage
from modelwrap.local.transformers import loading
from modelwrap.local.transformers.images import image_of
from modelwrap.local.transformers.loading import Checkpoint, load, load_encoder
from tests.local.transformers import tiny

pytestmark = [pytest.mark.xdist_group("torch"), pytest.mark.timeout(60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Be a model whose files a test may change."""
    return Path(shutil.copytree(tiny.llama(), tmp_path / "model"))


def change(path: Path, **given: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **given}), "utf-8")


def loaded(folder: Path, **arguments: Any) -> loading.Loaded:
    return load(Checkpoint("mine", str(folder), arguments=arguments), "cpu")


@pytest.mark.parametrize(
    "family, kind",
    [
        ("llama", "LlamaForCausalLM"),
        ("gpt2", "GPT2LMHeadModel"),
        ("t5", "T5ForConditionalGeneration"),
        ("bart", "BartForConditionalGeneration"),
        ("llava", "LlavaForConditionalGeneration"),
        ("qwen2_vl", "Qwen2VLForConditionalGeneration"),
        ("idefics3", "Idefics3ForConditionalGeneration"),
    ],
)
def test_each_family_is_loaded_by_its_own_class(family: str, kind: str) -> None:
    parts = loaded(getattr(tiny, family)())

    assert type(parts.model).__name__ == kind
    assert not parts.model.training
    assert not any(parameter.requires_grad for parameter in parts.model.parameters())
    assert (parts.processor is not None) == (family in ("llava", "qwen2_vl", "idefics3"))
    assert parts.processor is None or parts.processor.tokenizer is parts.tokenizer


def test_a_processor_whose_videos_need_a_package_reads_images_without_it() -> None:
    processor = loaded(tiny.qwen2_vl()).processor

    if transformers.utils.is_torchvision_available():
        pytest.skip("torchvision is here")
    assert "video_processor" not in processor.to_dict()
    with pytest.raises(BadRequest, match="pip install torchvision"):
        processor.video_processor([])


def test_a_folder_without_a_tokenizer_is_refused_by_name(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()

    with pytest.raises(ConfigError, match=r"mine: has no tokenizer \(no tokenizer\.json, …\)"):
        loaded(folder)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json; is it the folder of a model\?"):
        loaded(tmp_path)


def test_what_git_keeps_in_place_of_weights_is_told_from_broken_ones(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")

    with pytest.raises(ConfigError, match=r"model\.safetensors is what git keeps .*: git lfs pull"):
        loaded(folder)


def test_weights_of_another_shape_are_said(folder: Path) -> None:
    change(folder / "config.json", hidden_size=64)

    with pytest.raises(ConfigError, match=r"have other shapes than its config\.json says"):
        loaded(folder)


@pytest.mark.parametrize("text", ["{", "", "null", "[]"])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_not_what_it_should_be_is_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)

    with pytest.raises(ConfigError, match=rf"{name}: (cannot be read|holds no JSON object)"):
        loaded(folder)


def test_weights_that_are_missing_are_named(folder: Path) -> None:
    change(folder / "config.json", num_hidden_layers=3)

    with pytest.raises(ConfigError, match=r"hold no weights for model\.layers\.2\..* and others; are some missing"):
        loaded(folder)


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    shards = {
        "metadata": {},
        "weight_map": {"model.norm.weight": "one.safetensors", "lm_head.weight": "two.safetensors"},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))

    with pytest.raises(ConfigError, match=r"index.json names two.safetensors, which is not there"):
        loaded(folder)


@pytest.mark.parametrize("device", ["cuda:99", "mps:7", "gpu", "meta"])
def test_a_device_that_is_not_here_is_answered_with_those_that_are(folder: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no device {device} on this machine, which has cpu"):
        load(Checkpoint(str(folder), str(folder)), device)


def test_weights_that_are_broken_are_said(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x08" + b"\x00" * 20)

    with pytest.raises(ConfigError, match="mine cannot be loaded: SafetensorError: .* is cut or broken"):
        loaded(folder)


def test_weights_as_pickles_are_taken_only_where_the_config_says_so(folder: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()

    with pytest.raises(ConfigError, match='"use_safetensors": false in client_args takes those'):
        loaded(folder, use_safetensors=True)
    assert loaded(folder, use_safetensors=False).model is not None


def test_an_architecture_that_is_too_new_is_answered_with_a_remedy(folder: Path) -> None:
    change(folder / "config.json", model_type="llama_9000", architectures=["Llama9000ForCausalLM"])

    with pytest.raises(ConfigError, match=r"Here is transformers .*: a later one may know it"):
        loaded(folder)


def test_a_model_that_writes_nothing_is_refused_with_its_type(tmp_path: Path) -> None:
    config = transformers.CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_attention_heads=2, image_size=28)
    transformers.CLIPVisionModel(config).save_pretrained(tmp_path)

    with pytest.raises(ConfigError, match='of the kind clip_vision_model, .*"model_type": "transformers_embedding"'):
        loaded(tmp_path)


CODE = """
import pathlib
from transformers import LlamaConfig, LlamaForCausalLM

pathlib.Path({mark!r}).write_text("ran")


class OwnConfig(LlamaConfig):
    model_type = "own_llama"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def with_code(folder: Path, tmp_path: Path) -> Path:
    """Be a repository that brings code of its own."""
    (folder / "own.py").write_text(CODE.format(mark=str(tmp_path / "mark")))
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change(folder / "config.json", model_type="own_llama", architectures=["OwnModel"], auto_map=auto)
    return folder


def test_code_of_a_repository_does_not_run_by_itself(
    with_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *asked: pytest.fail("nobody may be asked"))

    with pytest.raises(ConfigError, match=r'brings code of its own.*write "trust_remote_code": true in client_args'):
        loaded(with_code)

    assert not (tmp_path / "mark").exists()


def test_code_of_a_repository_runs_where_the_config_says_so(with_code: Path, tmp_path: Path) -> None:
    parts = loaded(with_code, trust_remote_code=True)

    assert type(parts.model).__name__ == "OwnModel"
    assert (tmp_path / "mark").read_text() == "ran"


def test_what_does_not_fit_into_memory_is_answered_with_what_makes_it_smaller(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", burst)

    with pytest.raises(ConfigError, match='does not fit into the memory there is; .*"quantization_config"'):
        loaded(folder)


def test_a_package_that_loading_needs_is_named(folder: Path) -> None:
    with pytest.raises((MissingPackage, ConfigError), match="bitsandbytes"):
        loaded(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


def test_progress_is_told_and_nothing_is_drawn(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    transformers.utils.logging.enable_progress_bar()

    load(Checkpoint("mine", str(folder)), "cpu", progress=lambda done, total, what: told.append(what))
    transformers.utils.logging.disable_progress_bar()

    assert told[-1] == "loading mine: 100 %"
    assert capfd.readouterr() == ("", "")


def test_a_folder_inside_of_a_folder_is_loaded(folder: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    folder.rename(outer / "inner")

    parts = loaded(outer, subfolder="inner")

    assert type(parts.model).__name__ == "LlamaForCausalLM"


def test_an_encoder_is_loaded_without_the_part_that_writes() -> None:
    parts = load_encoder(Checkpoint("t5", str(tiny.t5())), "cpu")

    assert type(parts.model).__name__ == "T5EncoderModel"


def test_an_image_is_upright_and_in_color(tmp_path: Path) -> None:
    from PIL import Image

    from modelwrap.media import content_part

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (40, 20)).save(path, exif=exif)
    url = content_part(path, "image", [])["image_url"]["url"]

    image = image_of(url)

    assert (image.size, image.mode) == ((20, 40), "RGB")
    with pytest.raises(BadRequest, match="image_url: the image cannot be read"):
        image_of("data:image/png;base64,aGVsbG8=")


def test_a_model_whose_loading_failed_is_tried_again_at_the_next_call(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"")
    model = modelwrap.load({"config_name": "x", "model_type": "transformers", "model": str(folder)})["x"]

    with pytest.raises(ConfigError, match="cannot be loaded"):
        model("Hi", max_tokens=3)
    (folder / "model.safetensors").write_bytes(weights)
    reply = model("Hi", max_tokens=3)
    model.close()

    assert reply.usage.completion_tokens > 0


@pytest.mark.parametrize("more", [{}, {"worker": "process"}, {"batching": "off"}], ids=["thread", "process", "off"])
def test_what_goes_wrong_while_loading_is_said_of_the_config(folder: Path, more: dict[str, Any]) -> None:
    (folder / "config.json").unlink()
    named = {"config_name": "my-finetune", "model_type": "transformers", "model": str(folder)}
    model = modelwrap.load({**named, **more})["my-finetune"]

    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"^my-finetune: {folder} cannot be loaded: .* has no config\.json"):
            model("Hi")
    model.close()


@pytest.mark.parametrize("model_type", ["transformers", "transformers_embedding"])
def test_a_folder_that_is_not_there_is_said_of_the_config(model_type: str) -> None:
    model = modelwrap.load({"config_name": "lost", "model_type": model_type, "model": "/no/such/place"})["lost"]

    with pytest.raises(ConfigError, match="^lost: /no/such/place: no such folder"):
        model.load()
