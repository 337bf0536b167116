"""Files of older days rewritten in today's words, with everything else as it was written."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelwrap
from modelwrap.config.migration import migrated
from modelwrap.errors import ConfigError, ModelwrapWarning
from tests.config.test_older_types import HOSTED

BEFORE = """\
// my models
[
    {
        "type": "openai", // chat
        "name": "a",
        "budget": 5,
        "api_key": "EMPTY"
    },
    {
        "model_type": "ollama_chat",
        "config_name": "b",
        // which one
        "model_name": "llama3.2",
        "keep_alive": "5m",
        "options": {"temperature": 0, "num_ctx": 8192}
    },
    {"type": "tongyi_chat", "name": "c", "model_name": "qwen-max", "model": "qwen-max"}, // the last
]
"""
AFTER = """\
// my models
[
    {
        "model_type": "openai", // chat
        "config_name": "a",
        "api_key": "EMPTY"
    },
    {
        "model_type": "openai",
        "config_name": "b",
        // which one
        "model": "llama3.2",
        "preset": "ollama",
        "generate_args": {
            "temperature": 0
        }
    },
    {"model_type": "openai", "config_name": "c", "model": "qwen-max", "preset": "dashscope"}, // the last
]
"""


def test_a_file_is_rewritten_where_it_must_be_and_nowhere_else() -> None:
    migration = migrated(BEFORE, "models.json")

    assert migration.text == AFTER
    assert [change.partition(" over its own")[0] for change in migration.changes] == [
        'models.json:4:9: type is "model_type" now',
        'models.json:5:9: name is "config_name" now',
        "models.json:6:9: budget taken out: nothing enforces it",
        "models.json:14:9: keep_alive taken out: Ollama takes how long a model stays loaded",
        "models.json:15:39: options.num_ctx taken out: Ollama takes this option",
        'models.json:13:9: model_name is "model" now',
        'models.json:10:9: model_type is "openai" with the preset "ollama" now',
        "models.json:15:9: options stands in another place now",
        "models.json:9:5: got generate_args",
        'models.json:17:6: type is "model_type" now',
        'models.json:17:29: name is "config_name" now',
        'models.json:17:42: model_name taken out: it says what "model" says',
        'models.json:17:6: type is "openai" with the preset "dashscope" now',
    ]


@pytest.mark.parametrize(
    "before, after",
    [
        (
            '{\n  "config_name": "a", // the name\n  // next\n  "budget": 5, // money\n  // end\n}',
            '{\n  "config_name": "a" // the name\n  // next\n  // end\n}',
        ),
        (
            '{\n  // about money\n  "budget": 5, // money\n  // about the name\n  "config_name": "a"\n}',
            '{\n  // about money\n  // about the name\n  "config_name": "a"\n}',
        ),
        ('{"config_name": "a" // one, two\n , "budget": 5}', '{"config_name": "a" // one, two\n  }'),
        ('{"config_name": "a" /* , */, "budget": 5}', '{"config_name": "a" /* , */ }'),
        ('{"config_name": "a", "budget": 5,}', '{"config_name": "a" }'),
        ('{"budget": 5, "config_name": "a"}', '{"config_name": "a"}'),
        ('{\n"config_name": "a", "budget": 5,\n"model": "m"}', '{\n"config_name": "a", \n"model": "m"}'),
        ('{"config_name": "a", // one\n "budget": 5 // two\n}', '{"config_name": "a" // one\n}'),
    ],
)
def test_what_is_taken_out_takes_no_comment_of_others_along(before: str, after: str) -> None:
    assert migrated(before, "models.json").text == after


def test_what_says_nothing_is_not_moved() -> None:
    older = {"type": "ollama_chat", "name": "a", "host": None, "keep_alive": None, "options": None}

    migration = migrated(json.dumps(older), "models.json")

    assert json.loads(migration.text) == {"model_type": "openai", "config_name": "a", "preset": "ollama"}


def test_a_file_of_today_stays_as_it_is() -> None:
    migration = migrated(AFTER, "models.json")

    assert (migration.text, migration.changes) == (AFTER, [])


@pytest.mark.parametrize("config, expected", HOSTED.values(), ids=HOSTED)
def test_what_was_rewritten_says_what_it_said(config: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps([config], indent=2))
    new.write_text(migrated(old.read_bytes(), "old.json").text)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelwrapWarning)
        (before,), (after,) = modelwrap.load(old).values(), modelwrap.load(new).values()

    assert before.explain("Hi") == after.explain("Hi")
    assert migrated(new.read_bytes(), "new.json").changes == []


def test_changes_repeat_no_value() -> None:
    config = {"type": "yi_chat", "name": "yi", "api_key": "sk-canary-4Y7", "temperature": 0.123}

    migration = migrated(json.dumps(config), "yi.json")

    assert '"sk-canary-4Y7"' in migration.text
    assert not any("canary" in change or "0.123" in change for change in migration.changes)


@pytest.mark.parametrize(
    "text, mistake",
    [
        ('{"type": "openai", "model_type": "claude", "name": "a"}', 'type: differs from "model_type"'),
        ('{"type": "litellm_chat", "name": "sagemaker/x"}', "nothing here is known of LiteLLM's 'sagemaker'"),
        ('{"type": "openai"', "never closed"),
        ("[1]", "a config must be an object"),
    ],
)
def test_what_cannot_be_rewritten_says_why(text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        migrated(text, "models.json")

    assert mistake in str(caught.value)
    assert str(caught.value).startswith("models.json:1:")


KEYS = st.sampled_from(["type", "name", "model_name", "budget", "keep_alive", "options", "host", "stream", "x"])
VALUES = st.sampled_from(["m", 1, None, {"temperature": 0}, {"num_ctx": 1}, {}, []])
TYPES = st.sampled_from(["openai", "ollama_chat", "dashscope_image_synthesis", "yi_chat", "post_api"])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, VALUES), TYPES, st.sampled_from([None, 2]), st.integers(0, 6))
def test_whatever_is_rewritten_is_of_today(config: dict[str, Any], kind: str, indent: int | None, place: int) -> None:
    items = [*config.items()]
    items.insert(place, ("type", kind))
    text = json.dumps({"models": [dict(items) | {"type": kind}]}, indent=indent)

    migration = migrated(text, "models.json")

    assert migrated(migration.text, "models.json").changes == []
