from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from modelwrap.testing import fixtures
from tests.loopback import Loopback, chat_answer

pytest_plugins = ["pytester"]

# Loaded before the first test: pytester forgets what a run of its own imported, and a second copy has other classes.
for name in ("factory", "models.openai", "runtime.httpx2_backend", "testing.installing", "testing.recording"):
    import_module(f"modelwrap.{name}")

ASKING = """
    import modelwrap, pytest

    def ask(question):
        with modelwrap.load({"model_type": "openai", "config_name": "gpt", "api_key": "sk-canary-123",
                             "client_args": {"base_url": "BASE_URL", "max_retries": 0}}) as models:
            return models["gpt"](question).text
"""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, code: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_rivers=code)
    return pytester.runpytest_inprocess("-p", "modelwrap.testing.fixtures", "-p", "no:cacheprovider", *arguments)


def test_a_fake_stands_under_its_name_for_one_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import modelwrap, pytest
        from modelwrap.testing import FakeModel

        def test_one(modelwrap_fake):
            model = modelwrap_fake("gpt", ["Hello"], default="Bye")
            assert modelwrap_fake("other", FakeModel("Ciao")).name == "fake"
            texts = [modelwrap.get_model(name)("Hi").text for name in ("gpt", "gpt", "other")]
            assert texts == ["Hello", "Bye", "Ciao"]
            assert len(model.calls) == 2

        def test_two():
            with pytest.raises(modelwrap.UnknownModel):
                modelwrap.get_model("gpt")
        """,
    )

    result.assert_outcomes(passed=2)


def test_real_requests_are_forbidden_for_one_test(pytester: pytest.Pytester, server: Loopback) -> None:
    server.script(chat_answer())
    code = ASKING.replace("BASE_URL", server.base_url)

    result = run(
        pytester,
        f"""{code}
    def test_one(modelwrap_forbid_requests):
        with pytest.raises(modelwrap.RealRequestForbidden):
            ask("Hi")

    def test_two():
        assert ask("Hi") == "Hello"
    """,
    )

    result.assert_outcomes(passed=2)


def test_a_test_is_recorded_once_and_then_played(pytester: pytest.Pytester, server: Loopback) -> None:
    server.script(lambda asked: chat_answer(f"echo: {asked.body['messages'][0]['content']}"))
    code = f"""{ASKING.replace("BASE_URL", server.base_url)}
    class TestRivers:
        @pytest.mark.parametrize("question", ["one", "two"])
        def test_asks(self, modelwrap_replay, question):
            assert ask(question) == f"echo: {{question}}"
    """

    missing = run(pytester, code)
    recorded = run(pytester, code, "--modelwrap-record")
    asked = len(server.asked)
    played = run(pytester, code)

    missing.assert_outcomes(failed=2, errors=2)
    missing.stdout.fnmatch_lines(["*ReplayMismatch: *: nothing is recorded, and POST * is asked*"])
    missing.stdout.fnmatch_lines(["*there is no recording of this test; run it once with --modelwrap-record*"])
    recorded.assert_outcomes(passed=2)
    played.assert_outcomes(passed=2)
    assert asked == len(server.asked) == 2
    files = sorted(file.relative_to(pytester.path).as_posix() for file in pytester.path.rglob("*.json"))
    assert files == [f"recordings/test_rivers/TestRivers-test_asks-{question}.json" for question in ("one", "two")]
    assert not any("canary" in file.read_text() for file in pytester.path.rglob("*.json"))


def test_a_recording_played_in_part_is_an_error_unless_the_test_failed(
    pytester: pytest.Pytester, server: Loopback
) -> None:
    server.script(chat_answer())
    code = f"""{ASKING.replace("BASE_URL", server.base_url)}
    def test_asks(modelwrap_replay):
        ask("one")
        LATER
    """
    run(pytester, code.replace("LATER", 'ask("two")'), "--modelwrap-record").assert_outcomes(passed=1)

    less = run(pytester, code.replace("LATER", ""))
    failed = run(pytester, code.replace("LATER", "assert False"))
    skipped = run(pytester, code.replace("LATER", "pytest.skip('not today')"))

    less.assert_outcomes(passed=1, errors=1)
    less.stdout.fnmatch_lines(["*ReplayMismatch*1 of 2 recorded requests were never asked*"])
    failed.assert_outcomes(failed=1)
    skipped.assert_outcomes(skipped=1)


def test_a_test_without_a_recording_may_skip_itself(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest

        @pytest.fixture
        def board(modelwrap_replay):
            pytest.skip("there is no board")

        def test_skips(modelwrap_replay):
            pytest.skip("not today")

        def test_uses_what_is_not_there(board):
            pass

        def test_asks_nothing(modelwrap_replay):
            pass
        """,
    )

    result.assert_outcomes(skipped=2, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_asks_nothing.json: there is no recording of this test*"])


def test_a_fixture_that_fails_after_a_replay_began_is_the_only_error(
    pytester: pytest.Pytester, server: Loopback
) -> None:
    server.script(chat_answer())
    code = f"""{ASKING.replace("BASE_URL", server.base_url)}
    @pytest.fixture
    def board(modelwrap_replay):
        BOARD

    def test_asks(board):
        ask("one")
    """
    run(pytester, code.replace("BOARD", "return 1"), "--modelwrap-record").assert_outcomes(passed=1)

    result = run(pytester, code.replace("BOARD", "assert False"))

    result.assert_outcomes(errors=1)


def test_names_that_no_file_can_have_get_one_that_stays_their_own(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest
        from modelwrap.testing.fixtures import recording_of

        @pytest.mark.parametrize("question", ["a/b", "a?b", "x" * 300, "x" * 301, "plain"])
        def test_asks(request, question):
            path = recording_of(request.node)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        """,
    )

    result.assert_outcomes(passed=5)
    names = [file.name for file in pytester.path.rglob("*.json")]
    assert "test_asks-plain.json" in names
    assert max(map(len, names)) < 120


def test_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules)\n"
        "import modelwrap.testing.fixtures; print(*set(sys.modules) - before)"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert sorted(name for name in loaded if not name.startswith("_")) == [
        "modelwrap",
        "modelwrap.testing",
        "modelwrap.testing.fixtures",
    ]


def test_the_package_names_what_users_get() -> None:
    import modelwrap.testing as package

    assert dir(package) == sorted(package.__all__) == package.__all__
    for name in package.__all__:
        assert getattr(package, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018 - reading it is what is tested


def test_the_plugin_is_where_the_project_says() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")

    assert f'modelwrap = "{fixtures.__name__}"' in project
