"""From files on this machine to a model that answers: its weights, its tokenizer, and what reads images for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelwrap.errors import ConfigError, MissingPackage, ModelwrapError
from modelwrap.local.progress import Progress, shown
from modelwrap.runtime.lock import Lock

# While it builds a model, the library changes what every thread of the process shares.
_alone = Lock()

_INSTALL = 'pip install "modelwrap[transformers]"'

_LONGEST_WORDS = 400

# The classes that write text, in the order in which a kind of model is looked for in them: one that sees images too
# is often listed among those that only read.
_WRITERS = (
    "AutoModelForSeq2SeqLM",
    "AutoModelForImageTextToText",
    "AutoModelForMultimodalLM",
    "AutoModelForCausalLM",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Say where weights lie and how they are loaded, in values that JSON can carry."""

    name: str
    """What replies call the model."""
    folder: str
    gguf_file: str | None = None
    """The file of the folder that holds everything, where it is one of GGUF's."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What the library's `from_pretrained` takes."""
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Be a model and what belongs to it, under the names that hooks have for them."""

    model_name: str
    model: Any
    tokenizer: Any
    processor: Any | None = None
    """What makes inputs of texts and images; its tokenizer is the one above."""
    chat_template: str | None = None


def load(checkpoint: Checkpoint, device: str = "auto", *, progress: Progress | None = None) -> Loaded:
    """Load a model that writes text; `ConfigError` says what is wrong with its files or with this machine."""
    with _loading(checkpoint, progress):
        config = config_of(checkpoint)
        model = _model(checkpoint, config, device)
        processor = _processor(checkpoint, config)
        tokenizer = getattr(processor, "tokenizer", None) or _tokenizer(checkpoint)
    return Loaded(checkpoint.name, model, tokenizer, processor, checkpoint.chat_template)


def load_encoder(checkpoint: Checkpoint, device: str = "auto", *, progress: Progress | None = None) -> Loaded:
    """Load a model without the part that writes: what comes out of it are vectors."""
    with _loading(checkpoint, progress):
        import transformers

        config = config_of(checkpoint)
        reads_only = transformers.AutoModelForTextEncoding if config.is_encoder_decoder else transformers.AutoModel
        # What pools in another way than ours is often not among the weights, and not needed.
        model = _weights(reads_only, checkpoint, config, device, needless=("pooler.",))
        return Loaded(checkpoint.name, model, _tokenizer(checkpoint))


def check_installed(name: str) -> None:
    """Raise `MissingPackage` where the library is not here; better before its model is fetched than after."""
    if any(find_spec(package) is None for package in ("torch", "transformers")):
        raise MissingPackage(f"{name} needs torch and transformers: {_INSTALL}")


def config_of(checkpoint: Checkpoint) -> Any:
    import transformers

    return transformers.AutoConfig.from_pretrained(checkpoint.folder, **_files(checkpoint), **_trust(checkpoint))


@contextmanager
def _loading(checkpoint: Checkpoint, progress: Progress | None) -> Iterator[None]:
    """Load one model at a time, tell how far it is, and say what goes wrong in words."""
    check_installed(checkpoint.name)
    import torch
    import transformers

    with _alone, shown(progress) as report, _told(transformers.utils.logging, report, checkpoint.name):
        try:
            # The library would go on without, and write past the end of answers.
            object_of(_inner(checkpoint) / "generation_config.json")
            with _gguf_read(report, checkpoint.name) if checkpoint.gguf_file else nullcontext():
                yield
        except ModelwrapError:
            raise
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise ConfigError(f"{checkpoint.name}: {_no_memory()}") from error
        except ImportError as error:
            raise MissingPackage(f"{checkpoint.name} needs another package: {_first_lines(error)}") from error
        except Exception as error:  # whatever the library or a model's own code raises, its files or its config are why
            explained = _explained(error, _inner(checkpoint))
            raise ConfigError(f"{checkpoint.name} cannot be loaded: {explained}") from error


@contextmanager
def _told(logging_of_library: Any, report: Progress, name: str) -> Iterator[None]:
    """Let the library's bars tell how far loading is, in place of drawing themselves.

    What it warns of is told by errors here, or is no concern of who only calls a model.
    """
    earlier = logging_of_library.set_tqdm_hook(lambda make, given, named: _Bar(report, name, *given, **named))
    level = logging_of_library.get_verbosity()
    if level == logging.WARNING:
        logging_of_library.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging_of_library.set_tqdm_hook(earlier)
        logging_of_library.set_verbosity(level)


@contextmanager
def _gguf_read(report: Progress, name: str) -> Iterator[None]:
    """Have a GGUF file read once, where the library does so for config, tokenizer and weights, seconds each time."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    own = gguf.GGUFReader, gguf.get_tensor_name_map, reading.tqdm
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(own[0]), cache(own[1])
    # This bar alone has no hook.
    reading.tqdm = partial(_Bar, report, name)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map, reading.tqdm = own


class _Bar:
    """Be a progress bar of the library that draws nothing."""

    def __init__(
        self, report: Progress, name: str, items: Any = None, *_: Any, total: Any = None, **named: Any
    ) -> None:
        self._report = report
        self._name = name
        self._items = items
        self._total = total

    def __iter__(self) -> Iterator[Any]:
        items = list(self._items or ())
        for number, item in enumerate(items, 1):
            self._report(0, None, f"loading {self._name}: {100 * number // len(items)} %")
            yield item

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        # What bars can do beside going on: nothing of it matters here.
        return lambda *_, **__: None


def _model(checkpoint: Checkpoint, config: Any, device: str) -> Any:
    import transformers

    return _weights(getattr(transformers, _writer(checkpoint, config)), checkpoint, config, device)


def _writer(checkpoint: Checkpoint, config: Any) -> str:
    """Choose the class that loads a model which writes text: the one that the config names, else any for its kind."""
    import transformers

    own_code = getattr(config, "auto_map", None) or {}
    if checkpoint.arguments.get("trust_remote_code") and (found := [name for name in _WRITERS if name in own_code]):
        return found[0]
    architecture = next(iter(config.architectures or ()), None)
    known = {name: getattr(transformers, name)._model_mapping.get(type(config), None) for name in _WRITERS}
    named = [name for name, found in known.items() if architecture in _names_of(found)]
    fitting = named or [name for name, found in known.items() if found is not None]
    if not fitting:
        raise ConfigError(
            f"{checkpoint.name}: is of the kind {config.model_type}, which writes no text; for vectors of texts write "
            '"model_type": "transformers_embedding"'
        )
    return fitting[0]


def _names_of(classes: Any) -> list[str]:
    several = classes if isinstance(classes, tuple) else (classes,)
    return [found.__name__ for found in several if found is not None]


def _weights(
    auto_class: Any, checkpoint: Checkpoint, config: Any, device: str, *, needless: tuple[str, ...] = ()
) -> Any:
    _check_form(checkpoint)
    spread = "device_map" in checkpoint.arguments
    place = None if spread else first_device() if device == "auto" else _present(checkpoint, device)
    arguments = dict(checkpoint.arguments)
    if place not in (None, "cpu", "mps"):
        # Straight to where it computes: what does not fit into main memory may fit there.
        arguments["device_map"] = {"": place}
    if checkpoint.gguf_file is not None:
        # All that a GGUF file holds is numbers; the library asks for this where there are files of several kinds.
        arguments.pop("use_safetensors", None)
    if (most := arguments.get("max_memory")) is not None:
        # JSON has no numbers for names.
        arguments["max_memory"] = {int(name) if name.isdigit() else name: size for name, size in most.items()}
    if (quantization := arguments.get("quantization_config")) is not None:
        arguments["quantization_config"] = _quantization(quantization)
    arguments |= _files(checkpoint)
    model, report = auto_class.from_pretrained(checkpoint.folder, config=config, output_loading_info=True, **arguments)
    _check_whole(checkpoint, [name for name in report["missing_keys"] if not name.startswith(needless)])
    if place == "mps":
        model = model.to(place)
    model.requires_grad_(False)
    return model.eval()


def _quantization(given: Any) -> Any:
    from transformers.quantizers.auto import AutoQuantizationConfig

    return AutoQuantizationConfig.from_dict(given)


def _check_form(checkpoint: Checkpoint) -> None:
    """Refuse weights that could hold code as well, where the config does not take them."""
    if checkpoint.gguf_file is not None or not checkpoint.arguments.get("use_safetensors"):
        return
    folder = _inner(checkpoint)
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        raise ConfigError(f"{checkpoint.name}: {no_weights(use_safetensors=True)}")


def no_weights(*, use_safetensors: bool) -> str:
    """Say of files that hold no weights in the form that is wanted what can be done."""
    if use_safetensors:
        return (
            "holds no weights in safetensors. Where it has them as pytorch_model.bin, which could hold code as well, "
            '"use_safetensors": false in client_args takes those'
        )
    return 'holds no weights as *.bin; leave "use_safetensors" out of client_args'


def _check_whole(checkpoint: Checkpoint, missing: Sequence[str]) -> None:
    """Refuse a model of which the library made some numbers up, because no file holds them."""
    if missing:
        named = ", ".join(sorted(missing)[:3])
        raise ConfigError(
            f"{checkpoint.name}: its files hold no weights for {named}{' and others' if missing[3:] else ''}; are "
            "some missing, or is it a model for another task?"
        )


def first_device() -> str:
    """Name what computes where nobody says what shall."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _present(checkpoint: Checkpoint, device: str) -> str:
    """Refuse a device that is not here, of the kinds that can be counted, and what is no device that computes."""
    import torch

    cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    apples = ["mps:0"] if torch.backends.mps.is_available() else []
    counted = {"cuda": cards, "mps": apples, "meta": []}
    kind, _, number = device.partition(":")
    if f"{kind}:{number or 0}" not in counted[kind] if kind in counted else not _is_device(device):
        here = ", ".join(["cpu", *cards, *apples])
        raise ConfigError(f"{checkpoint.name}: there is no device {device} on this machine, which has {here}")
    return device


def _is_device(name: str) -> bool:
    import torch

    try:
        torch.device(name)
    except RuntimeError:
        return False
    return True


def _tokenizer(checkpoint: Checkpoint) -> Any:
    import transformers

    _check_tokenizer(checkpoint)
    return transformers.AutoTokenizer.from_pretrained(checkpoint.folder, **_files(checkpoint), **_trust(checkpoint))


_TOKENIZERS = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "tekken.json", "tokenizer.tiktoken"),
)


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZERS)


def _check_tokenizer(checkpoint: Checkpoint) -> None:
    folder = _inner(checkpoint)
    if checkpoint.gguf_file is None and not has_tokenizer(folder):
        raise ConfigError(
            f"{checkpoint.name}: has no tokenizer (no {_TOKENIZERS[0]}, …) in {folder}; put its files there, or give "
            "the objects to modelwrap.from_transformers(model=…, tokenizer=…)"
        )


def _processor(checkpoint: Checkpoint, config: Any) -> Any | None:
    """Load what reads images beside texts, where a model has such a thing."""
    folder = _inner(checkpoint)
    names = ("processor_config.json", "preprocessor_config.json")
    if checkpoint.gguf_file is not None or not any((folder / name).is_file() for name in names):
        return None
    from modelwrap.local.transformers.processors import processor_of

    return processor_of(checkpoint.folder, config, _files(checkpoint), _trust(checkpoint))


def _files(checkpoint: Checkpoint) -> dict[str, Any]:
    """Say to each of the library's classes where in the folder its files are."""
    subfolder = checkpoint.arguments.get("subfolder")
    gguf = {"gguf_file": checkpoint.gguf_file} if checkpoint.gguf_file else {}
    return {"local_files_only": True, **gguf} | ({"subfolder": subfolder} if subfolder else {})


def _trust(checkpoint: Checkpoint) -> dict[str, Any]:
    # False and not None, with which the library would ask whoever sits there.
    names = ("trust_remote_code", "code_revision")
    return {"trust_remote_code": False} | {
        name: checkpoint.arguments[name] for name in names if name in checkpoint.arguments
    }


def _inner(checkpoint: Checkpoint) -> Path:
    return Path(checkpoint.folder, checkpoint.arguments.get("subfolder") or "")


def _no_memory() -> str:
    return (
        'does not fit into the memory there is; in client_args, take a smaller "dtype" (bfloat16), a '
        '"quantization_config", or "device_map": "auto" for several devices'
    )


def _explained(error: Exception, folder: Path) -> str:
    """Add to the library's words what can be done."""
    words = str(error)
    if "Unrecognized model" in words and folder.is_dir() and not (folder / "config.json").is_file():
        return f"{folder} has no config.json; is it the folder of a model?"
    if type(error).__name__ == "SafetensorError":
        return _broken_weights(error, folder)
    if "ignore_mismatched_sizes" in words:
        return f"its weights in {folder} have other shapes than its config.json says; is one of them of another model?"
    if (unreadable := _unreadable(folder)) is not None:
        return unreadable
    if (missing := _missing_shard(folder)) is not None:
        return missing
    if "does not recognize this architecture" in words or "Unrecognized model" in words:
        return f"{_first_lines(error)} {_unknown_kind()}"
    if "trust_remote_code" in words:
        return (
            "it brings code of its own, which runs only where its config says so: read that code, then write "
            '"trust_remote_code": true in client_args'
        )
    if "out of memory" in words.lower():
        return _no_memory()
    return _first_lines(error)


# What is in a folder beside these may be JSON of any form.
_OBJECTS = frozenset(
    {
        *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("processor_config.json", "preprocessor_config.json"),
    }
)


def _unreadable(folder: Path) -> str | None:
    """Say which of the files is not the JSON that it should be."""
    for file in sorted(folder.glob("*.json")):
        try:
            object_of(file) if file.name in _OBJECTS else json_of(file)
        except ConfigError as error:
            return str(error)
    return None


def _missing_shard(folder: Path) -> str | None:
    """Say which file of weights is not there that the list of all names."""
    for index in sorted(folder.glob("*.index*.json")):
        shards = json_of(index)
        named = shards.get("weight_map") if isinstance(shards, dict) else None
        for shard in sorted({str(name) for name in named.values()}) if isinstance(named, dict) else ():
            if not (folder / shard).is_file():
                return f"{index} names {shard}, which is not there: fetch it too"
    return None


def _broken_weights(error: Exception, folder: Path) -> str:
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                return f"{file} is what git keeps in place of a large file; fetch that with: git lfs pull"
    return f"{_first_lines(error)}; a file of weights in {folder} is cut or broken: fetch it anew"


# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md#the-pointer
_POINTER = b"version https://git-lfs"


def _unknown_kind() -> str:
    import transformers

    return (
        f"Here is transformers {transformers.__version__}: a later one may know it (pip install -U transformers); or "
        'the model brings code of its own, which runs where client_args say "trust_remote_code": true.'
    )


def _first_lines(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_LONGEST_WORDS]}{'…' if text[_LONGEST_WORDS:] else ''}"


def json_of(path: Path) -> Any:
    """Read a small file of a model's folder; None where it is missing."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def object_of(path: Path) -> dict[str, Any]:
    """Read a small file of a model's folder that holds names and values; there are none where it is missing."""
    value = json_of(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: holds no JSON object, and should")
    return value
