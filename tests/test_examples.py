from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

import modelwrap
from modelwrap.testing import FakeModel, use_fake
from tests import claude_wire, gemini_wire, responses_wire
from tests.loopback import Loopback, chat_answer
from tests.moving.stage import Stage

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def agent() -> ModuleType:
    return example("agent")


@pytest.fixture
def relay(agent: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "agent", agent)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "some-key-of-mine")
    relay = example("relay")
    monkeypatch.setattr(relay, "HISTORY", tmp_path / "history.json")
    return relay


def tool_call(name: str, arguments: str, identity: str = "call-1") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_the_agent_answers_with_the_help_of_its_tools(agent: ModuleType) -> None:
    days = '{"first": "2026-01-01", "last": "2026-03-01"}'
    model = FakeModel(
        [
            {"role": "assistant", "content": None, "tool_calls": [tool_call("days_between", days)]},
            "It is 59 days.",
        ]
    )

    assert agent.answer(model, "How long is it?") == "It is 59 days."

    assert model.calls[1].messages[-1] == {"role": "tool", "tool_call_id": "call-1", "content": "59"}


@pytest.mark.parametrize(
    "name, arguments, told",
    [
        ("fly", "{}", "there is no tool fly, only today, days_between"),
        ("days_between", "{", "error: "),
        ("days_between", '{"first": "yesterday", "last": "today"}', "error: "),
        ("today", '{"where": "here"}', "error: "),
    ],
)
def test_the_agent_tells_the_model_what_it_did_wrong(agent: ModuleType, name: str, arguments: str, told: str) -> None:
    wrong = {"role": "assistant", "content": None, "tool_calls": [tool_call(name, arguments)]}
    model = FakeModel([wrong, "I see."])

    assert agent.answer(model, "Hm?") == "I see."

    assert told in model.calls[1].messages[-1]["content"]


def test_the_agent_gives_up_on_a_model_that_only_calls_tools(agent: ModuleType) -> None:
    endless = FakeModel(default={"role": "assistant", "content": None, "tool_calls": [tool_call("today", "{}")]})

    with pytest.raises(RuntimeError, match="no answer after 8 rounds"):
        agent.answer(endless, "Hm?")


def test_the_agents_backend_is_swapped_by_editing_json(
    agent: ModuleType,
    server: Loopback,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backends = []
    for name in ("first-model", "second-model"):
        server.script(chat_answer("", tool_calls=[tool_call("today", "{}")]), chat_answer(f"I am {name}."))
        edited = {
            "config_name": "agent",
            "model_type": "openai",
            "model": name,
            "api_key": "EMPTY",
            "client_args": {"base_url": server.base_url},
        }
        config = tmp_path / "agent.json"
        config.write_text(json.dumps(edited))
        monkeypatch.setattr(agent, "CONFIG", config)
        monkeypatch.setattr(sys, "argv", ["agent.py", "Who", "are", "you?"])

        modelwrap.clear()
        agent.main()
        backends.append(server.asked[-1].body["model"])
    modelwrap.clear()

    assert backends == ["first-model", "second-model"]
    assert capsys.readouterr().out == "I am first-model.\nI am second-model.\n"
    assert [message["role"] for message in server.asked[-1].body["messages"]] == ["system", "user", "assistant", "tool"]
    assert [tool["function"]["name"] for tool in server.asked[-1].body["tools"]] == ["today", "days_between"]


def test_the_agents_own_config_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "some-key-of-mine")

    with modelwrap.load(EXAMPLES / "agent.json") as models:
        assert list(models) == ["agent"]


def test_the_relay_carries_a_conversation_over_providers_while_tools_are_called(
    relay: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage()
    thought = {"type": "thinking", "thinking": "Hm", "signature": "c2lnbmVk"}
    days = {"first": "2026-01-01", "last": "2026-03-01"}
    used = {"type": "tool_use", "id": "toolu_1", "name": "days_between", "input": days}
    stage.answers += [
        responses_wire.response_answer(responses_wire.called(1, "today", "{}")),
        claude_wire.message_answer(thought, used, stop="tool_use"),
        gemini_wire.whole_answer("59 days."),
        responses_wire.response_answer(responses_wire.said("Welcome.")),
    ]

    with stage.set_up():
        for question in ("How long is it?", "Thanks."):
            monkeypatch.setattr(sys, "argv", ["relay.py", question])
            relay.main()

    printed = capsys.readouterr()
    assert printed.out == "59 days.\nWelcome.\n"
    assert "(gemini) extra_content.anthropic: dropped, another provider's" in printed.err
    hosts = [urlsplit(request.url).hostname for request in stage.sent]
    assert [str(host).split(".")[1] for host in hosts] == ["openai", "anthropic", "googleapis", "openai"]
    roles = [message["role"] for message in json.loads(relay.HISTORY.read_text(encoding="utf-8"))]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant", "user", "assistant"]
    last = stage.sent[-1].json["input"]
    assert [item["call_id"] for item in last if item.get("type") == "function_call"] == ["call_1", "toolu_1"]


@pytest.mark.usefixtures("relay")
def test_the_relays_own_config_is_right() -> None:
    with modelwrap.load(EXAMPLES / "relay.json") as models:
        assert list(models) == ["gpt", "claude", "gemini"]


def test_the_quickstart_prints_an_answer_and_the_code_that_gives_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quickstart = example("quickstart")
    config = tmp_path / "model_configs" / "quickstart.json"
    config.parent.mkdir()
    config.write_text(quickstart.CONFIG.read_text("utf-8"), "utf-8")
    models = modelwrap.load(config)
    monkeypatch.setattr(quickstart.modelwrap, "load", lambda path: models)
    monkeypatch.setattr(models["smollm2"], "stream", FakeModel("Lima, of course.").stream)

    quickstart.main("What is the capital of Peru?")

    printed = capsys.readouterr().out
    assert printed.startswith("> What is the capital of Peru?\nLima, of course.\n\n")
    code = "\n".join(printed.splitlines()[-3:])
    monkeypatch.chdir(tmp_path)
    with use_fake("smollm2", "Lima."):
        exec(code)
    modelwrap.clear()
    assert capsys.readouterr().out == "Lima.\n"
