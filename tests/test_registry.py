from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from modelwrap import registry
from modelwrap.errors import ConfigError, UnknownModelType
from tests.echo import Echo

pytestmark = pytest.mark.usefixtures("echo_type")


class Other(Echo):
    pass


def test_a_class_is_found_by_its_name_and_aliases() -> None:
    assert registry.resolve("echo") is Echo
    assert registry.resolve("parrot") is Echo
    assert registry.canonical("parrot") == "echo"
    assert registry.aliases_of("echo") == ["parrot"]
    assert "echo" in registry.names()
    assert "parrot" not in registry.names()
    assert "parrot" in registry.names(aliases=True)


def test_a_dotted_path_is_imported_when_it_is_asked_for() -> None:
    registry.register("late", "tests.echo:Echo")
    registry.register("never", "no_such_package:Echo")
    registry.register("nothing", "tests.echo:Nothing")
    registry.register("no_class", "tests.echo:echo")

    assert registry.resolve("late") is Echo
    for name, words in [
        ("never", "should be no_such_package:Echo, which cannot be imported: No module named"),
        ("nothing", "should be tests.echo:Nothing, which cannot be imported"),
        ("no_class", "its class needs a classmethod from_config"),
    ]:
        with pytest.raises(ConfigError, match=words):
            registry.resolve(name)


@pytest.mark.parametrize("target", ["tests.echo", "tests.echo:", "a:b:c", 5, object, Echo.from_config])
def test_a_target_that_makes_no_models_is_refused(target: object) -> None:
    with pytest.raises(ConfigError):
        registry.register("wrong", target)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        registry.register("", Echo)


def test_a_name_is_taken_once_unless_it_is_replaced() -> None:
    registry.register("echo", Echo)
    with pytest.raises(ConfigError, match=r"'echo' is registered already; register\(…, replace=True\)"):
        registry.register("echo", Other)
    with pytest.raises(ConfigError, match="'parrot' is registered already"):
        registry.register("other", Other, aliases=["parrot"])

    registry.register("parrot", Other, replace=True)

    assert registry.resolve("parrot") is Other
    assert registry.resolve("echo") is Echo


def test_an_unknown_type_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownModelType) as caught:
        registry.resolve("opneai")

    assert str(caught.value).startswith(
        "there is no model type 'opneai'; did you mean 'openai'? known are azure_openai, azure_openai_dall_e,"
    )
    assert "--plugin" not in str(caught.value)


def test_a_type_that_is_like_none_is_answered_with_how_ones_own_comes_in() -> None:
    with pytest.raises(UnknownModelType, match=r"; one of your own comes in by plugins=\[…\] or --plugin$"):
        registry.resolve("zebra")


@pytest.mark.parametrize(
    "name, canonical",
    [
        ("openai_chat", "openai"),
        ("OpenAIChatWrapper", "openai"),
        ("OpenAIDALLEWrapper", "openai_dall_e"),
        ("post_api_dalle", "post_api_dall_e"),
        ("PostAPIModelWrapperBase", "post_api"),
    ],
)
def test_names_of_older_files_are_aliases(name: str, canonical: str) -> None:
    assert registry.canonical(name) == canonical


def test_other_packages_bring_types_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    found = EntryPoints([EntryPoint("foreign", "tests.echo:Echo", registry.ENTRY_POINTS)])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found)

    assert registry.resolve("foreign") is Echo
    assert "foreign" in registry.names()


def test_aliases_are_no_single_text() -> None:
    with pytest.raises(ConfigError, match=r"aliases are a list, as in aliases=\['parrots'\]"):
        registry.register("late", Echo, aliases="parrots")
