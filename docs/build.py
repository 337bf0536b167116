"""Write docs/configs.md, and tables in calls.md, presets.md and testing.md beside it, from what the code says."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, get_args

from pydantic.fields import FieldInfo

import modelwrap
from modelwrap import registry
from modelwrap.capabilities import presets
from modelwrap.config import ClientArgs, ConfigPart, Limits, ModelConfig, config_class_of
from modelwrap.config.sources import OLD_NAMES
from modelwrap.models.remote_media import MediaArgs
from modelwrap.testing import FaultServer

Row: TypeAlias = tuple[str, str, str, str]
"""A key's name, type, default and meaning."""

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configs.md"
CASES = ROOT / "tests" / "cases" / "openai_chat"

TESTING = ROOT / "docs" / "testing.md"
FAULTS_BEGIN = "<!-- faults: written by docs/build.py (make docs) -->\n"
FAULTS_END = "<!-- end of faults -->\n"

CALLS = ROOT / "docs" / "calls.md"
ERRORS_BEGIN = "<!-- errors: written by docs/build.py (make docs) -->\n"
ERRORS_END = "<!-- end of errors -->\n"

PRESETS = ROOT / "docs" / "presets.md"
PRESETS_BEGIN = "<!-- presets: written by docs/build.py (make docs) -->\n"
PRESETS_END = "<!-- end of presets -->\n"

OPENING = """\
<!-- Written by docs/build.py (make docs): change the config classes or that script, not this page. -->

# Configs

A config gives a name to a model. `modelwrap.init` takes configs in any of these forms, and lists of them:

```python
import modelwrap

modelwrap.init(model_configs="model_configs/openai.json")  # a file
modelwrap.init(model_configs="model_configs")  # a folder: its *.json files, by name
modelwrap.init({"config_name": "local", "model_type": "openai", "client_args": {"base_url": "gpu-1:8000"}})
modelwrap.init(model_configs=["model_configs/openai.json", {"models": []}])  # a list of these

model = modelwrap.get_model("gpt")
models = modelwrap.load("model_configs/openai.json")  # a mapping of one's own; get_model does not see it
```

Called again, `init` adds. A name with equal content stays as it is; with other content it is an error that names
both places, unless `replace=True` is given. `clear()` forgets everything. An error leaves what was loaded as it
was.

A file holds one config, a list of them, or `{"models": [...]}`. It is JSON in which comments (`//` and `/* */`) and
trailing commas are taken. Ready files are in [model_configs](../model_configs), and `modelwrap check` reads a file
without any request. With `modelwrap schema > configs.schema.json` and a first key as below, editors complete and check
it; in a folder of configs, `*.schema.json` is not taken for one.

```json
{
    "$schema": "configs.schema.json",
    "models": [
        {
            "config_name": "gpt", // the name that get_model takes
            "model_type": "openai",
            "model": "gpt-5.4-mini",
            "api_key": "${OPENAI_API_KEY}",
            "client_args": {"timeout": {"idle": 30, "total": 120}},
            "generate_args": {"temperature": 0.5}
        },
    ],
}
```

In any string, `${NAME}` is replaced by the variable of the environment, `${NAME:-default}` by the default where the
variable is not set or empty, and `$${` by `${`. A variable that is not set and has no default is an error. Nothing
else is replaced, and a file can never name code to run: model types of one's own come in by `plugins=["file.py"]`, by
`--plugin file.py` or by the entry point group `modelwrap.models`, and are then named like the others
([how to write one](add-a-model-type.md)).
"""

KEYS = """\
## Keys of every config

{common}

### `client_args`

A model in this process has no endpoint: of these it takes `timeout` and `max_retries`, and refuses the others.

{client_args}

### `client_args.timeout`

Seconds for everything, or an object with some of these:

{limits}

### `media`

Of model types that have this key: how pictures, sounds and files are fetched that stand in messages as URLs.

{media}
"""

SECRETS = """\
## Keys and other secrets

- `api_key`, `proxy`, and headers whose names say that they carry a credential are never shown: not in a repr, a
  log, an error or a recording. Keep them out of files all the same, with `${NAME}`.
- Without `api_key`, the provider's usual variable is read, and what it holds is sent to the provider's own host only.
- `EMPTY` and the empty string mean that no key is sent.
- A placeholder, such as `xxx` or `{YOUR_API_TOKEN}`, loads with a warning; the refusal that follows names it.
- A key goes over plain http only to hosts in one's own network: loopback and private addresses, names without a dot,
  and those that end in `.local`, `.lan`, `.internal` or `.cluster.local`. `"allow_http": true` lifts that.
- `"verify": false` is taken for the same hosts only. For others, give the path of a file with the certificate to trust.
- Credentials in a URL are refused, because URLs end up in logs.
"""

OLDER = """\
## Files of older days

Configs that were written for AgentScope load as they are, in the words of any of its releases
([migrating](migrating.md)). Beside the keys above, these are taken: {old_names}.
Where both names of a key stand, they must say the same. `budget` loads with a warning, because nothing enforces it.
`null` means "not given".
"""

VARIABLES = """\
## Variables of the environment

| variable | meaning |
|---|---|
| `OPENAI_API_KEY` | the key for OpenAI's own hosts where a config gives none |
| `DEEPSEEK_API_KEY`, `GROQ_API_KEY`, … | the same for the hosts of [presets](presets.md) |
| `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN` | the same for Anthropic's |
| `GEMINI_API_KEY`, `GOOGLE_API_KEY` | the same for Google's |
| `GOOGLE_CLOUD_PROJECT`, `GOOGLE_CLOUD_LOCATION` | where models are on [Vertex](providers/gemini.md#vertex) |
| `AZURE_OPENAI_API_KEY`, `AZURE_OPENAI_AD_TOKEN` | the key or the token for [Azure's](providers/azure.md#who) |
| `AZURE_OPENAI_ENDPOINT`, `OPENAI_API_VERSION` | [where](providers/azure.md#where) models are there |
| `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | the proxy where a config gives none; never for loopback |
| `MODELWRAP_CONFIG` | the config that the command line program reads when `-c` is not given |
| `MODELWRAP_CACHE` | the folder for weights that were fetched |
| `HF_…`, `MODELSCOPE_…`, `PIP_…` | [where weights come from](local-models.md#where-weights-come-from) |
| `ENTRYPOINT` | the file that `from_entrypoint` and `--entrypoint` run in place of `model_entrypoint.py` |
| `MODELWRAP_FORBID_REQUESTS` | `1` makes every real request an error, for tests ([testing](testing.md)) |

Where a variable is to say the base URL, as `OPENAI_BASE_URL` does for OpenAI's client, write it into the config:
`"base_url": "${OPENAI_BASE_URL:-https://api.openai.com/v1}"`. None is read by itself but Azure's.
"""

ERRORS = """\
## Errors

All mistakes of all configs are told at once, each with its place, what is wrong, and what was probably meant. For
this file

```
{text}```

`modelwrap.init` raises

```
{error}
```

Each is a `ConfigError`, which no retry hides. `UnknownModelType`, `MissingSecret` and `MissingPackage` are raised
where all mistakes are of that one kind; `UnknownModel` by `get_model`.
"""

WRONG = """\
{"models": [
    {"config_name": "gpt", "model_type": "opneai"},
    {"config_name": "local", "model_type": "openai", "temperature": 0.5,
     "client_args": {"base_url": "http://localhost:8000/v1", "timeot": 60}},
]}
"""

PARAMETERS = """\
## Parameters of a chat

Given in a call, or in `generate_args` for every call; the call's win. Beside these, a call takes `timeout` and
`max_retries`, as in `client_args`, and `extra_headers`. A test holds every row of this table and of the two below.

{parameters}

## Messages of a chat

A call takes a string, a message, or a list of messages: dicts as in OpenAI's API, or what an earlier call gave. They
are never changed. Inside a content list, parts may be dicts, strings, and media in the forms below. A local file is
read only where the caller names it, by a `pathlib.Path` or a `file://` URL. Base64 that cannot be decoded is a
`BadRequest` that says where it stands.

Media that stand somewhere else are left to the provider as URLs where it takes them. Other models get the bytes, which
are fetched before the request goes out: over https, from hosts with public addresses, without redirects or proxies,
within the limits under `media` of the model's config; `changes` tells which.

{messages}

## Answers of a chat

What a server sends, in one piece or in many, and where a reply has it.

{answers}

With a pydantic class as `response_format`, `.parsed` is an object of it. `.raw` is the whole of what came, as JSON.
"""

MESSAGES = """\
message_text | `"Hello"` in place of messages | one user message
message_single | a message in place of a list | a list of it
message_roles | `system`, `developer` and `user` messages, with names | as they are
message_tool_results | assistant messages with `tool_calls`, `tool` messages | as they are
message_function_result | `function` messages | as they are
message_reply_again | a reply, or its `.choices[0].message` | an assistant message, without what only answers have
message_refusal_again | a reply that refused | an assistant message with `refusal`
message_spoken_again | a reply that spoke | an assistant message with `audio.id`
message_vendor_keys | a vendor's own keys, in messages and parts | as they are
message_text_parts | text in a content list | a `text` part
media_image_url | `{"type": "image_url", "image_url": {"url": "https://…"}}` | as it is
media_image_data_url | … with a `data:` URL | as it is
media_image_wrong_type | … with a `data:` URL whose bytes are of another kind | with the type of its bytes
media_image_file_url | … with a `file://` URL | `image_url` with a `data:` URL
media_image_path_in_part | … with a `pathlib.Path`, bytes or a `PIL.Image` | `image_url` with a `data:` URL
media_image_path | the `pathlib.Path` of an image | `image_url` with a `data:` URL
media_image_bytes | the bytes of an image | `image_url` with a `data:` URL
media_image_pil | a `PIL.Image` | `image_url` with a `data:` URL; JPEG where it was read from one, else PNG
media_audio_base64 | `{"type": "input_audio", "input_audio": {"data": "…", "format": "wav"}}` | as it is
media_audio_path_in_part | … with a `pathlib.Path` or bytes | `input_audio` with base64, and `format` if it was missing
media_audio_bytes | the bytes of sound, or their `pathlib.Path` | `input_audio` with base64 and `format`
media_file_id | `{"type": "file", "file": {"file_id": "…"}}` | as it is
media_file_bytes_in_part | … with a `pathlib.Path` or bytes as `file_data` | `file` with a `data:` URL
media_file_path | the `pathlib.Path` of a PDF, or its bytes | `file` with a name and a `data:` URL
media_file_text | the `pathlib.Path` of a text | `file` with its name and a `data:` URL
reasoning_replayed_to_compatible | `reasoning_content` on an assistant message | as it is, to servers that take it
reasoning_replayed_under_its_own_name | a reply whose server names it `reasoning` | `reasoning`
reasoning_renamed_at_groq | `reasoning_content` on an assistant message, to Groq | `reasoning`
reasoning_details_replayed | a reply with `reasoning_details` | as they came
reasoning_dropped_at_openai | any of the three, to OpenAI | left out, which `meta.changes` tells
"""

ANSWERS = """\
reply_text | text | `.text`, `choices[0].message.content`
reply_several_choices | several answers | `choices`
reply_tool_calls | `tool_calls` | `choices[0].message.tool_calls`
stream_tool_call | … in pieces | `choices[0].delta.tool_calls` of each chunk, joined in `stream.reply`
stream_tool_call_repeated | … that a server says twice | the same, once; `meta.changes` tells it
reply_refusal | `refusal` | `choices[0].message.refusal`; `.text` is empty and `.parsed` is None
reply_reasoning_content | `reasoning_content` | `choices[0].message.reasoning_content`
reply_reasoning | `reasoning` | `choices[0].message.reasoning_content`
reply_think_tags | `<think>…</think>` before the text | `choices[0].message.reasoning_content`
reply_think_tags_of_bedrock | … in the tags of a model or a host | the same
reply_reasoning_details | `reasoning_details` | `choices[0].message.reasoning_details`, their text as above
reply_content_list | content that is a list | its text in `content`, its thoughts in `reasoning_content`
reply_logprobs | `logprobs` | `choices[0].logprobs`
reply_audio | `audio` | `choices[0].message.audio`
reply_annotations | `annotations` | `choices[0].message.annotations`
reply_finish_reason_native | `finish_reason` | `choices[0].finish_reason`; the server's own word in `meta`
reply_usage_details | `usage` | `usage` as it came; in `meta.usage` counted alike for every server
stream_text | … at the end of a stream | `stream.reply.usage`
reply_vendor_fields | a vendor's own fields | where they came, under their own names
"""


def page() -> str:
    """Give the whole text of docs/configs.md."""
    old_names = ", ".join(f"`{old}` (`{name}`)" for name, old in OLD_NAMES.items())
    sections = [
        OPENING,
        KEYS.format(common=keys(ModelConfig), client_args=keys(ClientArgs), limits=keys(Limits), media=keys(MediaArgs)),
        "## Model types\n",
        *(model_type(name) for name in registry.names()),
        SECRETS,
        VARIABLES,
        PARAMETERS.format(
            parameters=parameters(),
            messages=table(("what is given", "what is sent", "case"), rows_of(MESSAGES)),
            answers=table(("what comes", "where it is", "case"), rows_of(ANSWERS)),
        ),
        ERRORS.format(text=WRONG, error=error_of(WRONG)),
        OLDER.format(old_names=old_names),
    ]
    return "\n".join(sections)


def model_type(name: str) -> str:
    """Describe a model type: its other names, and the keys that only it has or means otherwise."""
    model_class = registry.resolve(name)
    about = " ".join((model_class.__doc__ or "").split())
    aliases = ", ".join(f"`{alias}`" for alias in registry.aliases_of(name))
    heading = f"### `{name}`\n\n{about}{f' Also named {aliases}.' if aliases else ''}\n"
    base = basis_of(name)
    rows = own_rows(name, config_of(base) if base else ModelConfig)
    told = f"It has the keys of [`{base}`](#{base}){', and these:' if rows else '.'}" if base else ""
    return "\n\n".join(part for part in (heading.rstrip(), told, keys_table(rows) if rows else "") if part) + "\n"


def config_of(name: str) -> type[ModelConfig]:
    return config_class_of(registry.resolve(name))


def basis_of(name: str) -> str | None:
    """Find the model type all of whose keys another has as well, as its name says."""
    others = (other for other in registry.names() if name.startswith(f"{other}_"))
    return next((other for other in others if issubclass(config_of(name), config_of(other))), None)


def own_rows(name: str, known: type[ConfigPart]) -> list[Row]:
    """Give rows of the keys that another class of configs does not have or means otherwise, those of objects after."""
    part = config_of(name)
    rows = rows_of_keys(part, [key for key in part.model_fields if not same(part, known, key)])
    for key, field in part.model_fields.items():
        inner = part_of(field)
        if (
            inner is None
            or inner is MediaArgs
            or (key in known.model_fields and part_of(known.model_fields[key]) is inner)
        ):
            continue
        # What is said of every config is not said again.
        rest = [own for own in inner.model_fields if key != "client_args" or not same(inner, ClientArgs, own)]
        first = next(other for other in registry.names() if has_part(other, inner))
        if rest and first != name:
            rows.append((f"`{key}.…`", "", "", f"As of [`{first}`](#{first})."))
        else:
            rows += rows_of_keys(inner, rest, f"{key}.")
    return rows


def has_part(name: str, inner: type[ConfigPart]) -> bool:
    return any(part_of(field) is inner for field in config_of(name).model_fields.values())


def part_of(field: FieldInfo) -> type[ConfigPart] | None:
    """Find the object that a key holds, which may be left out."""
    options = get_args(field.annotation) or (field.annotation,)
    return next((one for one in options if isinstance(one, type) and issubclass(one, ConfigPart)), None)


def same(part: type[ConfigPart], known: type[ConfigPart], key: str) -> bool:
    earlier, field = known.model_fields.get(key), part.model_fields[key]
    return earlier is not None and (earlier.default, earlier.description) == (field.default, field.description)


def keys(part: type[ConfigPart]) -> str:
    return keys_table(rows_of_keys(part, part.model_fields))


def keys_table(rows: Iterable[Row]) -> str:
    return table(("key", "type", "default", "meaning"), rows)


def rows_of_keys(part: type[ConfigPart], names: Iterable[str], before: str = "") -> list[Row]:
    known = part.model_json_schema()["properties"]
    return [
        (f"`{before}{name}`", kind(known[name]), default(part, name), known[name].get("description", ""))
        for name in names
    ]


def kind(schema: dict[str, Any]) -> str:
    """Name a JSON type as people do."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [kind(option) for option in schema["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    names = {"boolean": "true or false", "integer": "whole number", "object": "object"}
    return names.get(schema.get("type", "object"), schema.get("type", "object"))


def default(part: type[ConfigPart], name: str) -> str:
    field = part.model_fields[name]
    if field.is_required():
        return "required"
    if field.default_factory is not None or field.default is None:
        return "–"
    return f"`{json.dumps(field.default)}`"


def parameters() -> str:
    cases = ((path.parent.name, json.loads(path.read_text("utf-8"))) for path in CASES.glob("*/case.json"))
    rows = sorted(
        (f"`{case['parameter']}`", case["covers"], case["sent_as"], link_to(name))
        for name, case in cases
        if "parameter" in case
    )
    rest = ("anything else", "What only some servers know.", "as it is", link_to("parameter_vendor_sampling"))
    return table(("parameter", "meaning", "what is sent", "case"), [*rows, rest])


def rows_of(text: str) -> Iterator[tuple[str, ...]]:
    """Read lines of the name of a case, and the cells that it stands for."""
    for line in text.splitlines():
        case, *cells = line.split(" | ")
        yield *cells, link_to(case)


def link_to(case: str) -> str:
    return f"[json](../tests/cases/openai_chat/{case})"


def table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def error_of(text: str) -> str:
    """Give what a person sees who loads a file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "models.json"
        path.write_text(text, "utf-8")
        try:
            modelwrap.load(path)
        except modelwrap.ConfigError as error:
            return str(error).replace(f"{folder}/", "")
    raise AssertionError("the example should be wrong")


def with_faults(text: str) -> str:
    """Write the table of faults anew into a page that has one."""
    before, _, rest = text.partition(FAULTS_BEGIN)
    _, _, after = rest.partition(FAULTS_END)
    return f"{before}{FAULTS_BEGIN}{faults()}\n{FAULTS_END}{after}"


def faults() -> str:
    rows = [
        (f"`{fault.name}`", fault.summary, ", ".join(f"`{name}={value!r}`" for name, value in fault.options.items()))
        for fault in FaultServer().faults()
    ]
    return table(("fault", "what the server does", "options"), rows)


def with_presets(text: str) -> str:
    """Write the table of presets anew into a page that has one."""
    before, _, rest = text.partition(PRESETS_BEGIN)
    _, _, after = rest.partition(PRESETS_END)
    rows = [
        (f"`{known.name}`", f"`{known.base_url}`", f"`{known.key}`" if known.key else "none")
        for known in sorted(presets().values(), key=lambda known: known.name)
    ]
    return f"{before}{PRESETS_BEGIN}{table(('preset', 'base URL', 'variable of the key'), rows)}\n{PRESETS_END}{after}"


def with_errors(text: str) -> str:
    """Write the table of errors anew into a page that has one."""
    before, _, rest = text.partition(ERRORS_BEGIN)
    _, _, after = rest.partition(ERRORS_END)
    rows = table(("error", "when", "retryable"), rows_of_errors(modelwrap.ModelwrapError, 0))
    return f"{before}{ERRORS_BEGIN}{rows}\n{ERRORS_END}{after}"


def rows_of_errors(kind: type[Exception], depth: int) -> Iterator[tuple[str, ...]]:
    """Walk through the tree of errors; what stands under another is moved to the right."""
    for error in kind.__subclasses__():
        # Nothing raises it before one name stands for several endpoints.
        if error is modelwrap.AllEndpointsFailed or error.__name__ not in modelwrap.__all__:
            continue
        summary = (error.__doc__ or "").partition("\n")[0]
        yield f"{'&emsp;' * depth}`{error.__name__}`", summary, "yes" if getattr(error, "retryable", False) else ""
        yield from rows_of_errors(error, depth + 1)


def main() -> int:
    PAGE.write_text(page(), "utf-8")
    CALLS.write_text(with_errors(CALLS.read_text("utf-8")), "utf-8")
    PRESETS.write_text(with_presets(PRESETS.read_text("utf-8")), "utf-8")
    TESTING.write_text(with_faults(TESTING.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
