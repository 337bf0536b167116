"""Every example that is printed is executed: Python, configs and commands, against a server on loopback."""

from __future__ import annotations

import ast
import asyncio
import base64
import inspect
import io
import re
import shlex
import shutil
import sys
import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap import cli, registry
from modelwrap import runtime as runtimes
from modelwrap.models import sdk_clients
from tests import gemini_wire
from tests.loopback import Answer, Asked, Loopback, chat_answer, event, json_answer, stream_answer
from tests.stand_in import Elsewhere

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    "README.md",
    "docs/calls.md",
    "docs/architecture.md",
    "docs/reliability.md",
    "docs/add-a-model-type.md",
    "docs/capabilities.md",
    "docs/moving-conversations.md",
    "docs/presets.md",
    "docs/migrating.md",
    "docs/post-api.md",
    "docs/embeddings.md",
    "docs/images.md",
    "docs/providers/azure.md",
    "docs/providers/claude.md",
    "docs/providers/gemini.md",
    "docs/providers/openai.md",
    "docs/providers/sdk.md",
]

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"(?:#|//) ([\w/]+\.\w+)\n")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)")

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001"
    "48afa4710000000049454e44ae426082"
)


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """A block whose first line is a comment with a file's name is that file."""
        named = FILE_NAME.match(self.text)
        return named[1] if named else None


def blocks(document: str) -> Iterator[Block]:
    text = (ROOT / document).read_text("utf-8")
    for found in FENCE.finditer(text):
        yield Block(text.count("\n", 0, found.start()) + 2, found[1], found[2])


def answer(asked: Asked) -> Answer:
    if ":" in asked.path:
        return gemini_answer(asked)
    if "/images/" in asked.path:
        return images_answer(asked)
    if asked.path.endswith("/embeddings"):
        return vectors_answer(asked)
    if asked.path.endswith("/generate"):
        pieces = [event({"piece": "Rhine, "}), event({"piece": "Elbe."}), event({"end": True, "tokens": 4})]
        if asked.body.get("stream"):
            return Answer(200, {"content-type": "text/event-stream"}, [*pieces])
        return json_answer({"output": "Rhine, Elbe.", "tokens": 4})
    if asked.body.get("stream"):
        return stream_answer("Rhine, ", "Elbe, ", "Oder.")
    if "response_format" in asked.body:
        return chat_answer('{"name": "Rhine", "length_in_km": 1233}')
    return chat_answer("Rhine, Elbe, Oder.")


def images_answer(asked: Asked) -> Answer:
    picture = base64.b64encode(PIXEL).decode()
    usage = {"input_tokens": 14, "output_tokens": 272, "total_tokens": 286}
    if asked.body is None or not asked.body.get("stream"):
        return json_answer({"created": 1, "data": [{"b64_json": picture}], "output_format": "png", "usage": usage})
    pieces = [
        event({"type": "image_generation.partial_image", "b64_json": picture, "partial_image_index": 0}),
        event({"type": "image_generation.completed", "b64_json": picture, "usage": usage}),
    ]
    return Answer(200, {"content-type": "text/event-stream"}, [*pieces])


def vectors_answer(asked: Asked) -> Answer:
    texts = asked.body["input"] if isinstance(asked.body["input"], list) else [asked.body["input"]]
    data = [{"object": "embedding", "index": place, "embedding": [0.25, 0.5]} for place in range(len(texts))]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return json_answer({"object": "list", "data": data, "model": asked.body["model"], "usage": usage})


def gemini_answer(asked: Asked) -> Answer:
    if asked.path.endswith(":batchEmbedContents"):
        return json_answer({"embeddings": [{"values": [0.1, 0.2]} for _ in asked.body["requests"]]})
    if "tools" in asked.body:
        call = {"name": "weather", "args": {}, "id": "x1"}
        return gemini_wire.whole_answer({"functionCall": call, "thoughtSignature": "c2lnbmVk"})
    return gemini_wire.whole_answer("Rhine, Elbe, Oder.")


@pytest.fixture
def elsewhere(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be a folder in which a reader of the docs follows them."""
    server.script(answer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODELWRAP_CONFIG", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "some-key-of-mine")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "some-key-of-mine")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "some-key-of-mine")
    monkeypatch.setenv("GEMINI_API_KEY", "some-key-of-mine")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(registry, "_targets", dict(registry._targets))
    monkeypatch.setattr(sdk_clients, "_known", dict(sdk_clients._known))
    (tmp_path / "river.png").write_bytes(PIXEL)
    before = set(sys.modules)
    with runtimes.played_by(lambda runtime: Elsewhere(runtime, server.base_url)):
        yield tmp_path
    modelwrap.clear()
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def follow(
    block: Block, document: str, folder: Path, names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    if block.file_name:
        (folder / block.file_name).write_text(block.text)
    elif block.language == "python":
        run(block, document, names)
    elif block.language == "console":
        for command, printed in commands(block.text):
            capsys.readouterr()
            assert cli.main(command) == cli.OK, (
                f"{document}:{block.line}: {shlex.join(command)}: {capsys.readouterr().err}"
            )
            shown = capsys.readouterr().out
            assert not printed or shown == printed


def run(block: Block, document: str, names: dict[str, Any]) -> None:
    code = compile("\n" * (block.line - 1) + block.text, ROOT / document, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    pending = types.FunctionType(code, names)()
    if inspect.iscoroutine(pending):
        asyncio.run(pending)


def commands(text: str) -> Iterator[tuple[list[str], str]]:
    """Give our own program's command lines and what they print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, printed = part.partition("\n")
        words = shlex.split(line)
        if words[0] == "modelwrap":
            yield words[1:], printed


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_shows_works(
    document: str, elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if document in ("docs/architecture.md", "docs/reliability.md"):
        shutil.copytree(ROOT / "model_configs", elsewhere / "model_configs")
    names: dict[str, Any] = {"__name__": "__main__"}

    for block in blocks(document):
        follow(block, document, elsewhere, names, capsys)


@pytest.mark.parametrize(
    "document",
    sorted(ROOT.glob("*.md"))
    + sorted((ROOT / "docs").rglob("*.md"))
    + [ROOT / "examples/README.md", ROOT / "model_configs/README.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_lead_somewhere(document: Path) -> None:
    linked = LINK.findall(FENCE.sub("", document.read_text("utf-8")))

    missing = [link for link in linked if not (document.parent / link).exists()]

    assert missing == []


def test_every_extra_is_explained() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("## Extras\n")[2].partition("\n## ")[0]

    first_cells = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)

    # The two are for those who work on the project: CONTRIBUTING.md.
    assert set(re.findall(r"`([\w-]+)`", " ".join(first_cells))) == extras.keys() - {"dev", "fuzz"}


def test_the_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")

    assert f"## {modelwrap.__version__}" in changelog or f"## [{modelwrap.__version__}]" in changelog


def test_every_decision_is_listed_and_says_what_would_change_it() -> None:
    pages = [page for page in (ROOT / "docs/decisions").glob("*.md") if page.name != "README.md"]
    listed = set(LINK.findall((ROOT / "docs/decisions/README.md").read_text("utf-8")))

    assert {page.name for page in pages} == listed
    for page in pages:
        text = page.read_text("utf-8")
        for part in ("**Context.**", "**Choice.**", "**What else was weighed.**", "**What would change our minds.**"):
            assert part in text, f"{page.name} lacks {part}"
