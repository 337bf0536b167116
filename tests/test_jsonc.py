from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwrap.errors import ConfigError
from modelwrap.jsonc import parse

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def message_of(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "models.json")
    return str(caught.value)


@given(JSON_VALUES, st.sampled_from([None, 2]), st.booleans())
def test_whatever_json_writes_is_read_alike(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert parse(text, "models.json").value == value
    assert parse(b"\xef\xbb\xbf" + text.encode(), "models.json").value == value


@given(st.text(alphabet="{}[]\",:/*\\'\n 0-.eE#=tn", max_size=40))
def test_any_text_is_a_value_or_an_error_with_its_place(text: str) -> None:
    try:
        parse(text, "models.json")
    except ConfigError as error:
        assert str(error).startswith("models.json:")


def test_comments_and_trailing_commas_are_taken() -> None:
    text = """// for the demo
    [
        {"a": [1, 2,], /* both
            kinds */ "b": "// no comment", },
    ] // done"""

    assert parse(text, "models.json").value == [{"a": [1, 2], "b": "// no comment"}]


def test_keys_and_values_know_their_line_and_column() -> None:
    document = parse('{\n  "a": [\n    true,\n\t"x"]}', "models.json")

    assert document.positions == {(): (1, 1), ("a",): (2, 8), ("a", 0): (3, 5), ("a", 1): (4, 2)}
    assert document.keys == {("a",): (2, 3)}


def test_an_error_shows_the_line_with_a_caret_and_the_remedy() -> None:
    message = message_of("{\n    \"name\": 'gpt',\n}")

    assert message == (
        'models.json:2:13: a string stands in double quotes, not in single ones: write "text"\n'
        "        \"name\": 'gpt',\n"
        "                ^"
    )


def test_a_missing_comma_is_shown_where_it_belongs() -> None:
    message = message_of('{\n  "headers": {\n  }\n  "url": ""\n}')

    assert message.startswith("models.json:3:4: a comma is missing here, after the value\n      }\n       ^")


@pytest.mark.parametrize(
    "text, place, words",
    [
        ("", "1:1", "the file is empty"),
        (" // nothing\n", "2:1", "the file is empty"),
        ("{name: 1}", "1:2", 'a key stands in double quotes: write "key"'),
        ("{'name': 1}", "1:2", "not in single ones"),
        ("{“name”: 1}", "1:2", "not in typographic ones"),
        ('{"a": “x”}', "1:7", "not in typographic ones"),
        ('{"a": True}', "1:7", "True is not JSON; write true"),
        ('{"a": FALSE}', "1:7", "FALSE is not JSON; write false"),
        ('{"a": None}', "1:7", "None is not JSON; write null"),
        ('{"a": NaN}', "1:7", "NaN is not allowed; write a number"),
        ('{"a": -Infinity}', "1:7", "-Infinity is not allowed"),
        ('{"a": 1e999}', "1:7", "too large"),
        ('{"a": 010}', "1:7", "no number in JSON"),
        ('{"a": .5}', "1:7", "no number in JSON"),
        ('{"a": 0x1F}', "1:7", "no number in JSON"),
        ('{"a": ' + "1" * 101 + "}", "1:7", "more than 100 digits"),
        ('{"a": gpt-4}', "1:7", "text stands in double quotes"),
        ('{"a": "x}', "1:7", "this string never ends"),
        ('{"a": "x\ny"}', "1:7", "a line break is written \\n"),
        ('{"a": "x\ty"}', "1:9", "write it as \\u0009"),
        ('{"a": "C:\\Users\\me"}', "1:10", "a backslash in a string is written twice"),
        ('{"a": "\\', "1:8", "a backslash in a string is written twice"),
        ('{"a": "\\u12"}', "1:8", "a backslash in a string is written twice"),
        ('{"a": "\\ud83d"}', "1:8", "half a surrogate pair"),
        ('{"a": "\\ud83d\\u0041"}', "1:8", "half a surrogate pair"),
        ('{"a": "\ud83d"}', "1:8", "half a surrogate pair"),
        ('{"a" = 1}', "1:6", "stands a colon, not ="),
        ('{"a" 1}', "1:6", "a colon is missing"),
        ('{"a": 1; "b": 2}', "1:8", "a comma or a } here, not ;"),
        ('{"a": }', "1:7", "a value is missing here, before the }"),
        ('{"a":', "1:6", "the file ends here, where a value should stand"),
        ('{"a": "say "hi" twice"}', "1:13", 'write it as \\"'),
        ("[1,,2]", "1:4", "a value is missing here, before the ,"),
        ('{"a": 1,, "b": 2}', "1:9", "one comma too many"),
        ('{"a": 1, 2: 3}', "1:10", "a key stands in double quotes"),
        ('{"a": 1, [', "1:10", "there should be a key in double quotes here"),
        ('{"a": 1\n', "1:1", "this { is never closed"),
        ("[1, 2}", "1:6", "the [ of line 1 is closed by }; write ]"),
        ('{"a": :}', "1:7", "there should be a value here, not :"),
        ('{"a": 1} {"b": 2}', "1:10", "several configs go into one list"),
        ("{} x", "1:4", "something stands after the end"),
        ('{"a": /* x', "1:7", "this comment never ends"),
        ("# hi\n{}", "1:1", "a comment begins with //, not with #"),
        ('{ # hi\n"a": 1}', "1:3", "a comment begins with //, not with #"),
        ('{"a": 1,\n "b": 2,\n "a": 3}', "3:2", '"a" stands here twice, in line 1 and in line 3'),
        ("[" * 65, "1:65", "nested more than 64 deep"),
        (b'{"a": "\xc3\xa4", "b": "\xff"}', "1:18", "this byte is not UTF-8"),
        (b'\xff\xfe{\x00"\x00', "1:1", "UTF-16 or is no text; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "1:1", "UTF-16 or is no text; save it as UTF-8"),
        (bytes(8), "1:1", "UTF-16 or is no text; save it as UTF-8"),
        ('{\u00a0"a": 1}', "1:2", "a character that is not seen stands here, U+00A0; take it out"),
        ('{"a":\u200b1}', "1:6", "a character that is not seen stands here, U+200B; take it out"),
        ('{"a": 1\u00a0, "b": 2}', "1:8", "a character that is not seen stands here, U+00A0; take it out"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str | bytes, place: str, words: str) -> None:
    message = message_of(text)

    assert message.startswith(f"models.json:{place}: ")
    assert words in message


@pytest.mark.parametrize(
    "text",
    [
        "{\"api_key\": 'sk-canary-4Y7'}",
        '{"api_key": sk-canary-4Y7}',
        '{"api_key": "sk-canary-4Y7}',
        "{\"api_key\":\n  'sk-canary-4Y7'}",
        "{\"api_key\":\n  'x: sk-canary-4Y7'}",
        '{"config_name": x, "api_key": "sk-canary-4Y7"}',
        '{"headers": {"Authorization": \'Bearer sk-canary-4Y7\'}}',
        "{\"proxy\": 'http://me:canary@host'}",
        "{\"base_url\": 'https://me:canary@host/v1'}",
        "{\"note\": 'sk-proj-0123456789-canary-0123456789'}",
        "{'note': '" + "x" * 5000 + "canary'}",
        '{"api_key": "a" sk-canary-4Y7}',
        '{"headers": {"Authorization":\n"Bearer canary" x}}',
        '{"headers": {"Authorization":\n"Bearer canary", x}}',
        '{"headers": {"Authorization":\n"Bearer canary"},,}',
        '{"api_key":\n["canary", "a canary\\" too", ,]}',
    ],
)
def test_an_error_never_shows_what_may_be_a_credential(text: str) -> None:
    assert "canary" not in message_of(text)


def test_a_long_line_is_shown_around_the_mistake() -> None:
    message = message_of('{"a": "' + "word " * 200 + '", "b": oops, "c": "' + "word " * 200 + '"}')

    line, caret = message.splitlines()[1:]
    assert len(line) < 120
    assert line[caret.index("^") :].startswith("oops")


def test_tabs_do_not_move_the_caret() -> None:
    message = message_of("{\n\t\t'a': 1}")

    assert message.splitlines()[1:] == ["    \t\t'a': 1}", "    \t\t^"]


def test_a_very_long_line_is_not_searched_for_keys() -> None:
    with pytest.raises(ConfigError, match="this string never ends") as caught:
        parse('"' + "a" * 1_000_000, "x.json")

    assert "aaa" not in str(caught.value)
