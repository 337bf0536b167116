"""What configs of transformers models may say; nothing here needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent.parent


def load(**config: Any) -> modelwrap.Models:
    named = {"config_name": "here", "model_type": "transformers", "model": "org/name"}
    return modelwrap.load({**named, **config})


@pytest.mark.parametrize(
    "config, said",
    [
        ({"client_args": {"dtyp": "float16"}}, r'client_args\.dtyp: unknown key; did you mean "dtype"'),
        ({"client_args": {"dtype": "float8"}}, "client_args.dtype: must be 'auto', 'float32'"),
        ({"client_args": {"torch_dtype": "auto", "dtype": "auto"}}, 'the older name of "dtype", which is given too'),
        ({"client_args": {"base_url": "http://gpu-1"}}, "a model in this process has no endpoint"),
        ({"client_args": {"device": "cpu", "device_map": "auto"}}, 'says the same as "device_map"'),
        ({"client_args": {"device": "cuda:"}}, "client_args.device"),
        ({"client_args": {"attn_implementation": "org/kernel"}}, 'runs only where "trust_remote_code" is true'),
        ({"device": "cpu"}, "device: belongs in client_args|device: unknown key"),
        ({"devices": ["cpu"], "client_args": {"device": "cpu"}}, 'and so does "client_args.device"'),
        ({"batching": "off", "worker": "process"}, "computes in the thread of who calls"),
        ({"batching": "off", "devices": ["cpu", "cpu"]}, '"batching": "off" has one replica'),
        ({"batching": "off", "n_threads": 2}, 'n_threads: "batching": "off" computes in the thread of who calls'),
        ({"n_threads": -1}, "n_threads: must be at least 0"),
        ({"entry": "mine", "worker": "process"}, "what was registered in this process is not in one of its own"),
        ({"entry_args": [1]}, 'there is no "entry" to be called with them'),
        ({"batch_size": 0}, "batch_size: must be at least 1"),
        ({"hub": "elsewhere"}, "hub: must be 'huggingface' or 'modelscope'"),
        ({"model": "two words"}, "is no folder here, and no repository"),
        ({"model": "hf:org/name"}, "write hf:organisation/repository/file.gguf"),
        ({"model": "x.gguf", "client_args": {"revision": "v1"}}, "client_args.revision: is for repositories"),
        (
            {"model": "./x", "client_args": {"revision": "v1"}},
            r"revision: is for repositories, and \./x names a folder",
        ),
        ({"model": "~/x", "client_args": {"token": "hf_secret12345"}}, "client_args.token: is for repositories"),
        (
            {"model": "/x", "client_args": {"cache_dir": "y"}},
            "client_args.cache_dir: .* names a folder on this machine",
        ),
        ({"temperature": 1}, "belongs in generate_args"),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(**config)


def test_what_loading_takes_is_taken() -> None:
    args = {
        "torch_dtype": "torch.bfloat16",
        "device_map": "auto",
        "max_memory": {"0": "20GiB", "cpu": "60GiB"},
        "attn_implementation": "sdpa",
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True},
        "revision": "main",
        "low_cpu_mem_usage": True,
        "trust_remote_code": True,
        "timeout": 30,
    }

    config: Any = load(client_args=args).config("here")

    assert config.client_args.dtype == "bfloat16"
    assert config.client_args.timeouts().total == 30


def test_a_token_is_never_shown() -> None:
    models = load(client_args={"token": "hf_secret12345"})

    assert "hf_secret12345" not in f"{models.config('here')!r} {models.config('here').model_dump_json()}"


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "huggingface_hub", "modelscope_hub", "accelerate", "llguidance"):
    sys.modules[name] = None
import modelwrap
from modelwrap.cli import main
from modelwrap.config.schema import config_schema

assert "transformers" in str(config_schema())
models = modelwrap.load("model_configs/transformers.json")
print(models["qwen-here"].explain("Hi").body["messages"])
assert main(["check", "-c", "model_configs/transformers.json"]) == 1
for name in models:
    try:
        models[name]("Hi")
    except modelwrap.MissingPackage as error:
        print(name, error)
"""


def test_without_torch_configs_are_read_and_a_call_says_what_to_install(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "MODELWRAP_CACHE": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT)}
    environment["PIP_NO_INDEX"] = "1"

    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            WITHOUT_TORCH.replace("for name in models:", "for name in ['minilm', 'qwen-here']:"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stderr
    assert "[{'role': 'user', 'content': 'Hi'}]" in run.stdout
    told = [line for line in run.stdout.splitlines() if 'pip install "modelwrap[transformers]"' in line]
    checked, called = told[:-2], told[-2:]
    assert len(checked) == len(modelwrap.load(str(ROOT / "model_configs" / "transformers.json")))
    assert [line.partition(" ")[0] for line in called] == ["minilm", "qwen-here"]
