from __future__ import annotations

import importlib.util
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelwrap import cli, registry
from modelwrap.cli import check
from modelwrap.models.base import Model
from tests.loopback import Asked, Loopback, chat_answer, error_answer, json_answer, stream_answer

ROOT = Path(__file__).parent.parent
KEY = "canary-9f2b7c1d5e"


def entry(server: Loopback | None, name: str = "river", **fields: Any) -> dict[str, Any]:
    base_url = server.base_url if server else "http://127.0.0.1:9/v1"
    client_args = {"base_url": base_url, "max_retries": 0}
    return {
        "config_name": name,
        "model_type": "openai",
        "model": "test-model",
        "api_key": KEY,
        "client_args": client_args,
        **fields,
    }


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps(list(entries), indent=2))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODELWRAP_CONFIG", raising=False)
    return tmp_path


@pytest.fixture
def config(here: Path, server: Loopback) -> Path:
    server.script(stream_answer("Rhine, ", "Elbe, ", "Oder."))
    return write(here / "modelwrap.json", entry(server))


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


# One-shot chat.


def test_chat_prints_the_answer_and_nothing_else_on_stdout(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["chat", "river", "Name", "three rivers."])

    assert code == cli.OK
    assert capsys.readouterr() == ("Rhine, Elbe, Oder.\n", "")


def test_chat_sends_prompt_system_and_parameters(config: Path, server: Loopback) -> None:
    cli.main(["chat", "Hi", "-s", "Be brief.", "-p", "temperature=0.5", "-p", "user=someone", "-p", 'stop=["a"]'])

    body = server.asked[0].body
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (body["temperature"], body["user"], body["stop"], body["stream"]) == (0.5, "someone", ["a"], True)


@pytest.mark.parametrize(
    "arguments, asked",
    [
        (["river", "-s", "Be brief.", "Hi", "there"], "Hi there"),
        (["river", "-s", "Be brief.", "Name", "-p", "n=1", "-3 rivers", "-"], "Name -3 rivers -"),
        (["-s", "Be brief.", "river", "Hi"], "Hi"),
        (["-s", "Be brief.", "river", "--", "-v"], "-v"),
        (["river", "-s", "Be brief.", "What", "--", "is", "-v?"], "What is -v?"),
    ],
)
def test_options_stand_anywhere_among_the_words(
    config: Path, server: Loopback, arguments: list[str], asked: str
) -> None:
    assert cli.main(["chat", *arguments]) == cli.OK

    assert [message["content"] for message in server.asked[0].body["messages"]] == ["Be brief.", asked]


def test_chat_reads_a_piped_prompt(config: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "Name\nthree rivers.\n")

    assert cli.main(["chat", "river"]) == cli.OK

    assert server.asked[0].body["messages"] == [{"role": "user", "content": "Name\nthree rivers."}]


def test_chat_with_a_model_that_makes_vectors_prints_them_as_json(
    here: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}
    server.script(json_answer({"object": "list", "data": [vector], "model": "m", "usage": {"prompt_tokens": 1}}))
    write(here / "modelwrap.json", entry(server, model_type="openai_embedding"))

    assert cli.main(["chat", "river", "Rhine"]) == cli.OK

    shown = capsys.readouterr()
    assert shown.out == "[0.25, -0.5]\n"
    assert shown.err == ""


def test_a_piped_prompt_that_is_no_text_is_a_wrong_command_line(config: Path) -> None:
    done = subprocess.run(
        program("chat", "river"),
        input=b"\xff\xfe",
        capture_output=True,
        env=environment(PYTHONIOENCODING="utf-8:strict"),
        timeout=20,
        check=False,
    )

    assert (done.returncode, done.stdout) == (cli.USAGE, b"")
    assert done.stderr.startswith(b"modelwrap: the prompt cannot be read from stdin: ")


def test_chat_without_any_prompt_is_a_wrong_command_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, "\n")

    assert cli.main(["chat", "river"]) == cli.USAGE

    assert "no prompt" in capsys.readouterr().err


def test_the_name_may_be_left_out_where_there_is_one_model(config: Path, server: Loopback) -> None:
    assert cli.main(["chat", "Name", "three"]) == cli.OK

    assert server.asked[0].body["messages"][0]["content"] == "Name three"


def test_the_name_is_asked_for_where_there_are_several_models(
    here: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "modelwrap.json", entry(server, "one"), entry(server, "two"))
    pipe(monkeypatch, "Hi")

    assert cli.main(["chat"]) == cli.USAGE
    assert "one, two" in capsys.readouterr().err

    assert cli.main(["chat", "twoo", "Hi"]) == cli.CONFIG_WRONG
    assert "two" in capsys.readouterr().err


def test_what_the_text_does_not_say_is_noted_on_stderr(
    config: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    call = {"id": "call-1", "type": "function", "function": {"name": "look_up", "arguments": '{"river": "Rhine"}'}}
    body = json.loads(chat_answer("").pieces[0])  # type: ignore[arg-type]  # a whole answer is one piece of bytes
    body["choices"][0].update(
        message={"role": "assistant", "content": None, "tool_calls": [call]}, finish_reason="length"
    )
    server.script(json_answer(body))

    assert cli.main(["chat", "Hi"]) == cli.OK

    shown = capsys.readouterr()
    assert shown.out.strip() == ""
    assert 'the model asks for look_up({"river": "Rhine"})' in shown.err
    assert "cut at the limit of tokens" in shown.err


def test_a_model_that_answers_in_one_piece_can_be_asked_too(
    here: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(json_answer({"generated_text": "Rhine, Elbe, Oder."}))
    api_url = f"{server.base_url}/generate"
    write(here / "modelwrap.json", {"config_name": "river", "model_type": "post_api", "api_url": api_url})

    assert cli.main(["chat", "Name three rivers."]) == cli.OK

    assert capsys.readouterr().out == "Rhine, Elbe, Oder.\n"
    assert [asked.body for asked in server.asked] == [{"inputs": "Name three rivers."}]


def test_images_are_shown_by_where_they_are(here: Path, server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    server.script(json_answer({"created": 1, "data": [{"url": "http://127.0.0.1/river.png"}]}))
    write(here / "modelwrap.json", entry(server, model_type="openai_dall_e"))

    assert cli.main(["chat", "A river.", "-p", "n=1"]) == cli.OK

    assert capsys.readouterr() == ("http://127.0.0.1/river.png\n", "")
    assert server.asked[0].body == {"model": "test-model", "prompt": "A river.", "n": 1}


# Exit codes.


@pytest.mark.parametrize(
    "status, code", [(400, cli.CALL_FAILED), (401, cli.CALL_FAILED), (429, cli.TRY_AGAIN), (503, cli.TRY_AGAIN)]
)
def test_a_failed_call_says_in_its_exit_code_whether_to_try_again(
    config: Path, server: Loopback, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    server.script(error_answer(status, "the words of the server"))

    assert cli.main(["chat", "Hi"]) == code

    shown = capsys.readouterr()
    assert shown.out.strip() == ""
    assert "the words of the server" in shown.err
    assert "Traceback" not in shown.err
    assert KEY not in shown.err


def test_a_cut_answer_leaves_what_came_and_fails(
    config: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(stream_answer("Rhine, ", cut=True))

    assert cli.main(["chat", "Hi"]) == cli.CALL_FAILED

    shown = capsys.readouterr()
    assert shown.out == "Rhine, \n"
    assert shown.err.startswith("modelwrap: river")


def test_debug_shows_the_traceback_without_the_key(
    config: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(error_answer(401, f"Incorrect API key provided: {KEY}"))

    assert cli.main(["chat", "Hi", "--debug"]) == cli.CALL_FAILED

    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["talk"], ["chat", "-p", "temperature"], ["chat", "-p", "=1"]),
        *(["check", "--no-such-option"], ["check", "--liv"]),
    ],
)
def test_a_wrong_command_line_is_told_apart(here: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == cli.USAGE


@pytest.mark.parametrize("arguments", [["--help"], ["chat", "--help"], ["--version"]])
def test_help_and_version_end_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 0
    assert "modelwrap" in capsys.readouterr().out


def test_the_help_lists_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])

    listed = [line.split()[0] for line in capsys.readouterr().out.split("exit codes:")[1].splitlines() if line.strip()]
    assert listed == ["0", "1", "2", "3", "4", "5", "130", "141"]


# Which config.


def test_a_config_is_found_in_one_documented_order(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(*arguments: str) -> str:
        assert cli.main([*arguments, "models"]) == cli.OK
        return capsys.readouterr().out.strip()

    write(here / "modelwrap.json", entry(None, "from-file"))
    assert found() == "from-file"
    (here / "model_configs").mkdir()
    write(here / "model_configs" / "one.json", entry(None, "from-folder"))
    assert found() == "from-folder"
    monkeypatch.setenv("MODELWRAP_CONFIG", str(write(here / "other.json", entry(None, "from-environment"))))
    assert found() == "from-environment"
    assert found("-c", str(write(here / "third.json", entry(None, "from-option")))) == "from-option"


def test_no_config_at_all_says_where_one_is_looked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == cli.CONFIG_WRONG

    error = capsys.readouterr().err
    assert all(place in error for place in ("-c", "MODELWRAP_CONFIG", "modelwrap.json", "model_configs"))


def test_a_config_and_the_embedded_model_exclude_each_other(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chat", "--embedded", "-c", str(config), "Hi"]) == cli.USAGE

    assert "--embedded stands for a config" in capsys.readouterr().err


def test_a_config_without_models_is_wrong(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "modelwrap.json")

    assert cli.main(["check"]) == cli.CONFIG_WRONG

    assert "names no model" in capsys.readouterr().err


def test_options_stand_before_or_behind_the_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(write(here / "one.json", entry(None, "one")))
    two = str(write(here / "two.json", entry(None, "two")))

    cli.main(["models", "-c", one, "-c", two])
    cli.main(["-c", one, "-c", two, "models"])
    cli.main(["-c", one, "models", "-c", two])

    assert capsys.readouterr().out == "one\ntwo\n" * 3


@pytest.mark.parametrize("arguments", [["--debug", "check"], ["check", "--debug"]])
def test_debug_stands_before_or_behind_the_command(
    here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == cli.CONFIG_WRONG

    assert "Traceback" in capsys.readouterr().err


def test_a_plugin_adds_a_model_type(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_targets", dict(registry._targets))
    plugin = here / "echo.py"
    plugin.write_text(PLUGIN)
    config = here / "echo.json"
    config.write_text(json.dumps({"config_name": "parrot", "model_type": "echo"}))

    assert cli.main(["chat", "-c", str(config), "--plugin", str(plugin), "Hello"]) == cli.OK
    assert capsys.readouterr().out == "Hello\n"

    assert cli.main(["schema", "--plugin", str(plugin)]) == cli.OK
    assert "echo" in capsys.readouterr().out


PLUGIN = """
import modelwrap
from modelwrap.config import ModelConfig
from modelwrap.testing import FakeModel


class Echo(FakeModel):
    Config = ModelConfig

    @classmethod
    def from_config(cls, config):
        return cls(default=lambda messages, parameters: messages[-1]["content"], name=config.config_name)


modelwrap.register("echo", Echo)
"""


# The other commands.


def test_check_prints_a_line_a_model_without_any_request(
    here: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "modelwrap.json", entry(server), entry(server, "a-longer-name"))

    assert cli.main(["check"]) == cli.OK

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["river", "openai", "test-model", f"{server.base_url}/chat/completions"],
        ["a-longer-name", "openai", "test-model", f"{server.base_url}/chat/completions"],
    ]
    assert server.asked == []


def test_check_live_makes_one_small_call_to_each_model(
    here: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(chat_answer("OK"), error_answer(401, "wrong key"))
    write(here / "modelwrap.json", entry(server), entry(server, "other"))

    assert cli.main(["check", "--live"]) == cli.CALL_FAILED

    first, second = (line.split(maxsplit=6) for line in capsys.readouterr().out.splitlines())
    assert [first[0], *first[3:]] == ["river", f"{server.base_url}/chat/completions", first[4], "s", "ok, 5 tokens"]
    assert second[0] == "other"
    assert second[6].startswith("AuthenticationFailed: other")
    assert "wrong key" in second[6]
    assert KEY not in second[6]
    assert len(server.asked) == 2


def test_check_live_bounds_what_an_answer_may_cost(
    here: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    thinks = error_answer(400, "max_tokens must be above thinking.budget_tokens")
    server.script(chat_answer("OK"), thinks, chat_answer("OK"), thinks, thinks)
    write(here / "modelwrap.json", *(entry(server, name) for name in ("river", "thinker", "wrong")))

    assert cli.main(["check", "--live"]) == cli.CALL_FAILED

    assert [asked.body.get("max_tokens") for asked in server.asked] == [64, 64, None, 64, None]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1].partition(":")[0] for line in lines] == ["ok, 5 tokens", "ok, 5 tokens", "BadRequest"]


def test_check_live_calls_only_what_is_named(here: Path, server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    server.script(chat_answer("OK"))
    write(here / "modelwrap.json", entry(server), entry(server, "other"))

    assert cli.main(["check", "other", "--live"]) == cli.OK
    assert cli.main(["check", "nobody", "--live"]) == cli.CONFIG_WRONG

    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["other"]
    assert "there is no model 'nobody'" in shown.err
    assert len(server.asked) == 1


def test_check_names_the_models_without_a_key_beside_the_others(
    here: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    server.script(chat_answer("OK"))
    keyless = {"type": "openai", "name": "fast", "model_name": "m", "preset": "groq"}
    write(here / "modelwrap.json", keyless, entry(server))

    assert cli.main(["check"]) == cli.CONFIG_WRONG
    static = capsys.readouterr().out.splitlines()
    assert cli.main(["check", "--live"]) == cli.CONFIG_WRONG
    live = capsys.readouterr().out.splitlines()

    missing = "fast   openai  m           no key: GROQ_API_KEY not set"
    assert static == [f"river  openai  test-model  {server.base_url}/chat/completions", missing]
    assert live[0].endswith("ok, 5 tokens")
    assert live[1] == missing
    assert cli.main(["check", "river"]) == cli.OK


@pytest.fixture
def half_ready(here: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a config of three models, of which one has its key, and one lacks a package."""
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    keyless = {"model_type": "openai", "config_name": "fast", "model": "m", "preset": "groq"}
    at_azure = {"azure_endpoint": "https://mine.openai.azure.com", "credential": "cli"}
    unpacked = {"model_type": "azure_openai", "config_name": "login", "model": "m", "client_args": at_azure}
    return write(here / "modelwrap.json", keyless, unpacked, entry(server))


@pytest.mark.usefixtures("half_ready")
def test_a_model_that_lacks_something_stands_in_nobodys_way(
    server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(stream_answer("Rhine."))

    assert cli.main(["chat", "river", "Name a river."]) == cli.OK
    assert cli.main(["explain", "river", "Name a river."]) == cli.OK
    assert cli.main(["models"]) == cli.OK
    assert cli.main(["download"]) == cli.OK

    shown = capsys.readouterr()
    assert shown.out.startswith("Rhine.\nPOST ")
    assert shown.out.endswith("river\nfast\nlogin\n")
    assert "nothing to download" in shown.err


@pytest.mark.usefixtures("half_ready")
@pytest.mark.parametrize("name, lacking", [("fast", "GROQ_API_KEY is not set"), ("login", "modelwrap[azure]")])
@pytest.mark.parametrize("command", ["chat", "explain", "download"])
def test_what_a_model_lacks_is_told_to_who_names_it(
    command: str, name: str, lacking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [name] if command == "download" else [name, "Hi"]

    assert cli.main([command, *words]) == cli.CONFIG_WRONG

    shown = capsys.readouterr()
    assert lacking in shown.err
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1


@pytest.mark.usefixtures("half_ready")
def test_check_names_the_packages_that_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check"]) == cli.CONFIG_WRONG

    ready, keyless, unpacked = capsys.readouterr().out.splitlines()
    assert ready.startswith("river ")
    assert keyless.endswith("no key: GROQ_API_KEY not set")
    assert unpacked.startswith("login ")
    assert "pip install 'modelwrap[azure]'" in unpacked


def test_where_every_model_lacks_its_key_a_wrong_name_is_answered_with_what_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    write(here / "modelwrap.json", {"model_type": "openai", "config_name": "fast", "preset": "groq"})

    assert cli.main(["chat", "Name three rivers."]) == cli.CONFIG_WRONG

    assert "GROQ_API_KEY is not set" in capsys.readouterr().err


def test_a_model_without_its_key_is_named_in_todays_words(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("ZHIPUAI_API_KEY", "GROQ_API_KEY", "TYPE"):
        monkeypatch.delenv(variable, raising=False)
    older = {"type": "zhipuai_chat", "name": "glm"}
    write(here / "modelwrap.json", older, {"model_type": "${TYPE:-openai}", "config_name": "fast", "preset": "groq"})

    assert cli.main(["check"]) == cli.CONFIG_WRONG
    checked = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert cli.main(["download"]) == cli.OK

    assert checked == [["glm", "openai", "glm"], ["fast", "openai", "fast"]]
    assert "nothing to download" in capsys.readouterr().err


def test_one_name_for_two_things_is_a_mistake_also_where_one_lacks_its_key(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    keyless = {"model_type": "openai", "config_name": "river", "model": "m", "preset": "groq"}

    for configs in ([entry(None), keyless], [keyless, entry(None)]):
        write(here / "modelwrap.json", *configs)
        assert cli.main(["models"]) == cli.CONFIG_WRONG
        assert "'river' stands for something else already, at modelwrap.json:" in capsys.readouterr().err

    for equal in (keyless, entry(None)):
        write(here / "modelwrap.json", equal, equal)
        assert cli.main(["models"]) == cli.OK
        assert capsys.readouterr().out == "river\n"


@pytest.mark.parametrize("command", ["check", "chat", "explain", "download"])
def test_a_wrong_name_is_answered_with_the_names_of_the_config_also_where_all_lack_their_keys(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    keyless = {"model_type": "openai", "model": "m", "preset": "groq"}
    write(here / "modelwrap.json", {**keyless, "config_name": "fast"}, {**keyless, "config_name": "slow"})

    assert cli.main([command, "fasst"]) == cli.CONFIG_WRONG

    shown = capsys.readouterr().err
    assert shown == "modelwrap: there is no model 'fasst'; did you mean 'fast'? loaded are 'fast', 'slow'\n"


def test_other_mistakes_go_before_keys_that_are_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    keyless = {"model_type": "openai", "config_name": "fast", "preset": "groq"}
    write(here / "modelwrap.json", keyless, entry(None, modle="x"))

    assert cli.main(["check"]) == cli.CONFIG_WRONG

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "modle" in shown.err


@pytest.mark.parametrize(
    "model_type, package, extra", [("llama_cpp", "xllamacpp", "llama-cpp"), ("transformers", "torch", "transformers")]
)
def test_check_names_the_package_that_a_model_in_this_process_needs(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model_type: str,
    package: str,
    extra: str,
) -> None:
    known = importlib.util.find_spec

    def find_spec(name: str) -> Any:
        return None if name == package else known(name)

    monkeypatch.setattr("modelwrap.local.llama_cpp.find_spec", find_spec)
    monkeypatch.setattr("modelwrap.local.transformers.loading.find_spec", find_spec)
    write(
        here / "modelwrap.json",
        {"config_name": "here", "model_type": model_type, "model": "hf:org/repo/a.gguf"},
        entry(None),
    )

    assert cli.main(["check"]) == cli.CONFIG_WRONG
    assert cli.main(["check", "river"]) == cli.OK

    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("here")
    assert package in line
    assert f"modelwrap[{extra}]" in line


def test_the_path_of_a_model_is_shown_as_it_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = "C:\\Models\\tiny"
    write(here / "modelwrap.json", {"config_name": "tiny", "model_type": "transformers", "model": path})

    assert cli.main(["check"]) == cli.OK

    assert capsys.readouterr().out.split() == ["tiny", "transformers", path, path]


def test_a_model_that_takes_no_call_is_told_beside_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claude = {"config_name": "claude", "model_type": "claude", "model": "claude-opus-5", "api_key": KEY}
    write(here / "modelwrap.json", {**claude, "generate_args": {"seed": 1}}, entry(None))

    assert cli.main(["check"]) == cli.CONFIG_WRONG
    checked = capsys.readouterr().out.splitlines()
    assert cli.main(["check", "river"]) == cli.OK
    capsys.readouterr()
    assert cli.main(["models", "--json"]) == cli.OK
    listed = json.loads(capsys.readouterr().out)

    assert [line.split()[0] for line in checked] == ["claude", "river"]
    assert "UnsupportedParameter: claude (https://api.anthropic.com): seed: Claude has no seed" in checked[0]
    assert [(one["endpoint"] is None, bool(one["lacks"])) for one in listed] == [(True, True), (False, False)]


@pytest.mark.parametrize("command", ["chat", "explain"])
@pytest.mark.parametrize("given", ["self=1", "messages=[]", "stream=true"])
def test_what_is_no_parameter_of_the_api_is_a_wrong_command_line(
    config: Path, command: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "Hi", "-p", given])

    assert ended.value.code == cli.USAGE
    assert "none of the API's parameters" in capsys.readouterr().err


def test_check_live_shows_what_it_knows_when_it_is_stopped(
    here: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(chat_answer("OK"))
    write(here / "modelwrap.json", entry(server), entry(server, "other"))
    asked = check._outcome_of

    def stopped(model: Model) -> tuple[tuple[str, str], int]:
        if server.asked:
            raise KeyboardInterrupt
        return asked(model)

    monkeypatch.setattr(check, "_outcome_of", stopped)

    assert cli.main(["check", "--live"]) == cli.INTERRUPTED
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["river"]


def test_check_live_fetches_weights_for_those_only_that_are_named(
    here: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELWRAP_CACHE", str(here / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", server.base_url)
    server.script(chat_answer("OK"))
    large = {"config_name": "large", "model_type": "llama_cpp", "model": "hf:org/repo/large.gguf"}
    held = {"config_name": "held", "model_type": "transformers", "model": "org/repo"}
    write(here / "modelwrap.json", large, held, entry(server))

    assert cli.main(["check", "--live"]) == cli.OK

    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["large", "held", "river"]
    assert all("its weights are not here; name it to fetch them" in line for line in lines[:2])
    assert len(server.asked) == 1


def test_migrate_rewrites_a_file_and_says_what_it_changed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "old.json"
    path.write_bytes(b'{\r\n  "type": "openai", // chat\r\n  "name": "a"\r\n}\r\n')
    path.chmod(0o640)

    assert cli.main(["migrate", "old.json"]) == cli.OK

    assert path.read_bytes() == b'{\r\n  "model_type": "openai", // chat\r\n  "config_name": "a"\r\n}\r\n'
    assert path.stat().st_mode & 0o777 == 0o640
    assert [found.name for found in here.iterdir()] == ["old.json"]
    said = 'old.json:2:3: type is "model_type" now\nold.json:3:3: name is "config_name" now\n'
    assert capsys.readouterr() == ("", said)


def test_migrate_can_leave_the_file_as_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "old.json"
    path.write_text('{"type": "openai", "name": "a"}\n')

    assert cli.main(["migrate", "--dry-run", "old.json"]) == cli.OK

    assert path.read_text() == '{"type": "openai", "name": "a"}\n'
    assert capsys.readouterr().out == '{"model_type": "openai", "config_name": "a"}\n'


def test_migrate_says_what_it_cannot_read_and_where_there_is_nothing_to_do(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "new.json", entry(None))

    assert cli.main(["migrate", "new.json"]) == cli.OK
    assert cli.main(["migrate", "absent.json"]) == cli.CONFIG_WRONG

    shown = capsys.readouterr().err
    assert "new.json: nothing to change" in shown
    assert "absent.json: there is no such file" in shown


def test_migrate_reads_no_pipe_and_names_the_file_that_it_cannot_write(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(here / "pipe.json")
    (here / "old.json").write_text('{"type": "openai", "name": "a"}')
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    monkeypatch.setattr(sys.stdout, "fileno", lambda: os.open(os.devnull, os.O_WRONLY))

    assert cli.main(["migrate", "pipe.json"]) == cli.CONFIG_WRONG
    assert cli.main(["migrate", "~nobody-of-this-name/old.json"]) == cli.CONFIG_WRONG
    assert cli.main(["migrate", "old.json"]) == cli.NOT_WRITTEN

    shown = capsys.readouterr().err
    assert "pipe.json: this is no file" in shown
    assert "home directory" in shown
    assert "old.json cannot be written: No space left on device" in shown
    assert (here / "old.json").read_text() == '{"type": "openai", "name": "a"}'


def test_check_reports_every_mistake_with_its_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "modelwrap.json", entry(None, modle="x"), entry(None, "second", client_args={"timeot": 3}))

    assert cli.main(["check"]) == cli.CONFIG_WRONG

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "modelwrap.json:11" in shown.err
    assert "modle" in shown.err
    assert 'did you mean "timeout"' in shown.err
    assert KEY not in shown.err


def test_a_placeholder_for_a_key_is_a_note(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "modelwrap.json", entry(None, api_key="{YOUR_API_TOKEN}"))

    assert cli.main(["check"]) == cli.OK

    error = capsys.readouterr().err
    assert error.startswith("modelwrap: ")
    assert error.count("\n") == 1


def test_models_lists_names_or_json(config: Path, server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == cli.OK
    assert capsys.readouterr().out == "river\n"

    assert cli.main(["models", "--json"]) == cli.OK
    endpoint = f"{server.base_url}/chat/completions"
    assert json.loads(capsys.readouterr().out) == [
        {"name": "river", "model_type": "openai", "model": "test-model", "endpoint": endpoint, "lacks": None}
    ]


def test_explain_shows_the_request_and_sends_nothing(
    config: Path, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "river", "Hi", "-p", "temperature=0", "-s", "Be brief."]) == cli.OK

    shown = capsys.readouterr().out
    assert shown.startswith(f"POST {server.base_url}/chat/completions\n")
    assert '"temperature": 0' in shown
    assert KEY not in shown
    assert server.asked == []


def test_explain_as_json_is_what_chat_sends(config: Path, server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["explain", "--json", "--stream", "river", "Hi"])
    explained = json.loads(capsys.readouterr().out)

    cli.main(["chat", "river", "Hi"])

    assert explained["body"] == server.asked[0].body
    assert explained["headers"].keys() <= server.asked[0].headers.keys()
    assert KEY not in json.dumps(explained)


def test_explain_needs_a_prompt(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "")

    assert cli.main(["explain", "river"]) == cli.USAGE


def test_schema_is_one_that_a_config_can_be_checked_with(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == cli.OK

    schema = json.loads(capsys.readouterr().out)
    checker = jsonschema.validators.validator_for(schema)
    checker.check_schema(schema)
    checker(schema).validate(json.loads(config.read_text()))


# As a program.


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "modelwrap", *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def test_the_program_runs_as_a_module(config: Path) -> None:
    done = subprocess.run(
        program("chat", "Hi"), input="", capture_output=True, text=True, env=environment(), timeout=20, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "Rhine, Elbe, Oder.\n", "")


def test_a_reader_that_goes_away_ends_the_program_quietly(config: Path, server: Loopback) -> None:
    gone: list[bool] = []

    def wait_for_the_reader(asked: Asked) -> Any:
        while not gone:
            time.sleep(0.01)
        return stream_answer(*["river " * 2000] * 50)

    server.script(wait_for_the_reader)
    with subprocess.Popen(
        program("chat", "Hi"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        gone.append(True)
        assert process.stderr.read() == b""
    assert process.returncode == cli.READER_GONE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["chat", "Hi"], ["check"], ["--help"], ["chat", "--help"], ["--version"]])
def test_output_that_cannot_be_written_is_an_error(config: Path, arguments: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            program(*arguments),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(PYTHONUNBUFFERED=unbuffered),
            timeout=20,
            check=False,
        )

    assert done.returncode == cli.NOT_WRITTEN
    assert done.stderr == "modelwrap: the output cannot be written: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments, redirected, code",
    [
        (["check", "-c", "none.json"], "2>/dev/full", cli.CONFIG_WRONG),
        (["talk"], "2>/dev/full", cli.USAGE),
        (["check"], ">/dev/full 2>/dev/full", cli.NOT_WRITTEN),
    ],
)
def test_the_exit_code_is_the_same_where_nobody_can_be_told(
    config: Path, arguments: list[str], redirected: str, code: int, unbuffered: str
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirected}', "sh", *program(*arguments)],
        env=environment(PYTHONUNBUFFERED=unbuffered),
        timeout=20,
        check=False,
    )

    assert done.returncode == code


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_program_runs_with_closed_streams(config: Path, closed: str) -> None:
    command = f'"$@" {closed}'

    done = subprocess.run(
        ["sh", "-c", command, "sh", *program("chat", "Hi")],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=20,
        check=False,
    )

    assert (done.returncode, done.stderr) == (cli.OK, "")
    assert done.stdout == ("" if ">&-" in closed.split("2")[0] else "Rhine, Elbe, Oder.\n")


def test_ctrl_c_stops_a_one_shot_answer(config: Path, server: Loopback) -> None:
    asked: list[bool] = []

    def never_ending(_: Asked) -> Any:
        asked.append(True)
        return stream_answer("Rhine", before=[20.0])

    server.script(never_ending)
    with subprocess.Popen(
        program("chat", "Hi"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stderr is not None
        while not asked:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == cli.INTERRUPTED


class Terminal:
    """Be the person at the terminal of a program."""

    def __init__(self, leader: int, process: subprocess.Popen[bytes]) -> None:
        self._leader = leader
        self.process = process
        self.screen = ""

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def interrupt(self, text: str) -> None:
        """Press Ctrl-C until `text` is seen: a signal that comes just before a line is read waits for the next key."""
        for _ in range(50):
            self.type("\x03")
            if self._look(text, 0.2):
                break
        self.see(text)

    def see(self, text: str) -> str:
        """Read on until `text` is seen; give what came up to its end."""
        if not self._look(text, 10):
            raise AssertionError(f"{text!r} did not come; the screen shows {self.screen!r}")
        end = self.screen.index(text) + len(text)
        seen, self.screen = self.screen[:end], self.screen[end:]
        return seen

    def _look(self, text: str, seconds: float) -> bool:
        while text not in self.screen:
            if not select.select([self._leader], [], [], seconds)[0]:
                return False
            try:
                self.screen += os.read(self._leader, 4096).decode()
            except OSError:  # what Linux gives at the end of a terminal
                return False
        return True

    def end(self) -> int:
        """Wait for the end of the program, reading what it still has to say."""
        while select.select([self._leader], [], [], 10)[0]:
            try:
                if not os.read(self._leader, 4096):
                    break
            except OSError:
                break
        return self.process.wait(10)


@contextmanager
def terminal(*arguments: str, out: Path | None = None, **more: str) -> Iterator[Terminal]:
    leader, follower = pty.openpty()
    target = os.dup(follower) if out is None else os.open(out, os.O_WRONLY | os.O_CREAT)
    process = subprocess.Popen(
        program(*arguments),
        stdin=follower,
        stdout=target,
        stderr=follower,
        env=environment(TERM="xterm", COLUMNS="80", LINES="24", **more),
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(follower),
    )
    os.close(follower)
    os.close(target)
    try:
        yield Terminal(leader, process)
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def _take_terminal(follower: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(follower, termios.TIOCSCTTY, 0)


@pytest.fixture(params=["rich", "plain"])
def look(request: pytest.FixtureRequest, here: Path) -> dict[str, str]:
    """Run the program with rich, and as if it were not installed."""
    if request.param == "rich":
        return {}
    shadow = here / "shadow"
    (shadow / "rich").mkdir(parents=True)
    (shadow / "rich" / "__init__.py").write_text("raise ImportError('not installed')")
    return {"PYTHONPATH": f"{shadow}{os.pathsep}{ROOT}"}


def test_a_conversation_remembers_clears_and_ends(config: Path, server: Loopback, look: dict[str, str]) -> None:
    with terminal("chat", "-s", "Be brief.", **look) as screen:
        screen.see("> ")
        screen.type("Name three rivers.\n")
        screen.see("Oder.")
        screen.see("> ")
        screen.type("And lakes?\n")
        screen.see("Oder.")
        screen.see("> ")
        screen.type("/clear\n")
        screen.see("> ")
        screen.type("/nonsense\n")
        screen.see("no command /nonsense")
        screen.see("> ")
        screen.type("Hi\n")
        screen.see("Oder.")
        screen.see("> ")
        screen.type("/exit\n")
        assert screen.end() == cli.OK

    first, second, third = (asked.body["messages"] for asked in server.asked)
    system = {"role": "system", "content": "Be brief."}
    question = {"role": "user", "content": "Name three rivers."}
    answer = {"role": "assistant", "content": "Rhine, Elbe, Oder."}
    assert first == [system, question]
    assert second == [system, question, answer, {"role": "user", "content": "And lakes?"}]
    assert third == [system, {"role": "user", "content": "Hi"}]


def test_ctrl_c_stops_an_answer_and_not_the_conversation(config: Path, server: Loopback, look: dict[str, str]) -> None:
    slow = stream_answer("Rhine, ", "Elbe.")
    slow.pieces.insert(1, 20.0)
    server.script(slow, error_answer(400, "the words of the server"), stream_answer("Still here."))

    with terminal("chat", **look) as screen:
        screen.see("> ")
        screen.type("Name three rivers.\n")
        screen.see("Rhine")
        screen.type("\x03")
        screen.see("stopped")
        screen.see("> ")
        screen.interrupt("> ")
        screen.type("Wrong\n")
        screen.see("the words of the server")
        screen.see("> ")
        screen.type("Hi\n")
        screen.see("Still here.")
        screen.see("> ")
        screen.type("\x04")
        assert screen.end() == cli.OK

    roles = [message["role"] for message in server.asked[-1].body["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_answers_of_a_conversation_can_go_into_a_file(config: Path, here: Path) -> None:
    with terminal("chat", out=here / "answers.txt") as screen:
        screen.see("> ")
        screen.type("Name three rivers.\n")
        screen.see("> ")
        screen.type("\x04")
        assert screen.end() == cli.OK

    assert (here / "answers.txt").read_text() == "Rhine, Elbe, Oder.\n"
