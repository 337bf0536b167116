"""What a secret shows of itself, and what a scrubber finds of it in the words of others."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import re
import time
from urllib.parse import quote, quote_plus

import pytest

from modelwrap import secrets
from modelwrap.secrets import Scrubber, Secret, credentials_in, is_sensitive, reveal, without_credentials

KEY = "sk-é/Zq3+7 ~>?9x\"\\'"


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    """Have each test work out the forms of its secrets."""
    secrets._forms.cache_clear()


def test_a_secret_shows_itself_only_when_revealed() -> None:
    secret = Secret("sk-canary")

    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>5}", repr([secret]), repr({"key": secret})]

    assert shown == ["Secret('***')", "***", "***", "  ***", "[Secret('***')]", "{'key': Secret('***')}"]
    assert secret.reveal() == "sk-canary"
    assert (reveal(secret), reveal("plain")) == ("sk-canary", "plain")


def test_a_secret_is_a_value() -> None:
    secret = Secret("sk-canary")

    assert secret == Secret("sk-canary")
    assert secret != Secret("sk-other")
    assert secret != "sk-canary"
    assert len({secret, Secret("sk-canary"), Secret("sk-other")}) == 2
    assert hash(secret) not in (hash("sk-canary"), hash(None))
    assert (bool(secret), bool(Secret(""))) == (True, False)


def test_a_secret_stays_where_it_is() -> None:
    secret = Secret("sk-canary")

    assert copy.copy(secret) is secret
    assert copy.deepcopy({"key": secret})["key"] is secret
    with pytest.raises(TypeError, match="^a Secret is not pickled: load the config in the process that needs it$"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        vars(secret)


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "proxy-authorization", "api-key", "API_KEY", "apikey", "x-api-key", "X-Goog-Api-Key"),
        *("key", "x-key", "goog-key", "sig", "X-Amz-Signature", "X-Auth-Token", "client_secret", "password"),
        *("passwd", "Cookie", "set-cookie", "credential", "id_token", "Ocp-Apim-Subscription-Key", "x-functions-key"),
        *("Helicone-Auth", "X-Auth-Key", "X-App-Key", "access_key", "AccessKeyId", "x-master-key", "private_key"),
    ],
)
def test_names_of_credentials_are_known(name: str) -> None:
    assert is_sensitive(name)


@pytest.mark.parametrize(
    "name",
    [
        *("content-type", "keyboard", "monkey", "x-request-id", "signal", "design", "keys", "author"),
        *("prompt_cache_key", "map_key"),
    ],
)
def test_other_names_are_left_alone(name: str) -> None:
    assert not is_sensitive(name)


FORMS = {
    "raw": KEY,
    "in a URL": quote(KEY, safe=""),
    "in a path": quote(KEY),
    "in a form": quote_plus(KEY),
    "in a URL, in small letters": re.sub("%..", lambda byte: byte[0].lower(), quote(KEY, safe="")),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 without its end": base64.b64encode(KEY.encode()).decode().rstrip("="),
    "base64 for URLs": base64.urlsafe_b64encode(KEY.encode()).decode(),
    "base64 for URLs without its end": base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    "JSON": json.dumps(KEY, ensure_ascii=False)[1:-1],
    "JSON in ASCII": json.dumps(KEY)[1:-1],
    "JSON of PHP": KEY.replace("/", "\\/"),
    "JSON in JSON": json.dumps(json.dumps(KEY))[3:-3],
    "JSON of PHP, whole": json.dumps(KEY)[1:-1].replace("/", "\\/"),
    "JSON of PHP in JSON": json.dumps(json.dumps(KEY)[1:-1].replace("/", "\\/"))[1:-1],
    "Python": repr(KEY)[1:-1],
    "a page": html.escape(KEY),
    "a page of Jinja": html.escape(KEY).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "a page of Go": html.escape(KEY).replace("&quot;", "&#34;").replace("&#x27;", "&#39;").replace("+", "&#43;"),
    "a page by OWASP's rules": html.escape(KEY).replace("/", "&#x2F;"),
    "a page of Handlebars": html.escape(KEY).replace("=", "&#x3D;"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scheme", ["", "Bearer ", "token  "])
def test_a_scrubber_finds_a_secret_in_every_form(form: str, scheme: str) -> None:
    scrub = Scrubber([Secret("another"), Secret(f" {scheme}{KEY} ")])
    text = f"before {FORMS[form]} and {FORMS[form]} after"

    scrubbed = scrub(text)

    assert scrubbed.rstrip("=") in (
        "before *** and *** after",
        "before ***= and ***= after",
        "before ***== and ***== after",
    )
    assert scrub.holds_secret(text)
    assert not scrub.holds_secret(scrubbed)


def test_a_scrubber_leaves_everything_else() -> None:
    scrub = Scrubber([Secret("Bearer sk-canary"), Secret("short"), Secret("")])
    text = "Bearer of short news: sk-cana, nary; …sk-canar"

    assert scrub(text) == text
    assert not scrub.holds_secret(text)
    assert not Scrubber([]).holds_secret("")


def test_a_scrubber_takes_a_scheme_for_no_secret_and_the_whole_for_one() -> None:
    scrub = Scrubber([Secret("Credential sk-canary"), Secret("x-9 sk-other")])

    assert (
        scrub("Credential of: sk-canary; Credential sk-canary; sk-other; x-9 sk-other")
        == "Credential of: ***; ***; sk-other; ***"
    )


def test_a_secret_of_six_letters_is_long_enough_to_be_found() -> None:
    scrub = Scrubber([Secret("123456"), Secret("abcde")])

    assert scrub("123456 abcde") == "*** abcde"


def test_a_longer_secret_goes_before_a_shorter_one_in_it() -> None:
    scrub = Scrubber([Secret("canary-1"), Secret("canary-1-and-more"), Secret("canary-1-and")])

    assert scrub("canary-1-and-more canary-1") == "*** ***"


@pytest.mark.parametrize(
    "text, scrubbed",
    [
        ("the key is sk-canar…", "the key is ***…"),
        ("the key is sk-c…", "the key is ***…"),
        ("the key is sk-…", "the key is sk-…"),
        ("the key is sk-canary…", "the key is ***…"),
        ("sk-canary and sk-cana…", "*** and ***…"),
        ("sk-can and more…", "sk-can and more…"),
        ("nothing…", "nothing…"),
        ("…", "…"),
    ],
)
def test_the_start_of_a_secret_that_a_cut_left_is_found(text: str, scrubbed: str) -> None:
    scrub = Scrubber([Secret("sk-canary")])

    assert scrub(text) == scrubbed


@pytest.mark.parametrize(
    "secret, text, scrubbed",
    [
        ("sk-canary", "sk-canar…", "***…"),
        ("abcabcabcd-key", "abcabcabc…", "***…"),
        ("abcabcabcd-key", "it is abcaabcabcabc…", "it is abca***…"),
        ("aaaaab-key", "it is aaaaaa…", "it is a***…"),
    ],
)
def test_of_a_secret_that_was_cut_all_that_is_left_goes_and_nothing_else(secret: str, text: str, scrubbed: str) -> None:
    assert Scrubber([Secret(secret)])(text) == scrubbed


def test_long_tokens_take_no_time_to_be_looked_for() -> None:
    tokens = [Secret(f"Bearer {number}{'aZ3-_/' * 600}") for number in range(9)]
    page = "a" * 2048 + "…"
    started = time.process_time()

    for _ in range(30):
        assert Scrubber(tokens)(page) == page

    # They took two seconds.
    assert time.process_time() - started < 0.3


def test_a_value_is_scrubbed_wherever_it_holds_text() -> None:
    scrub = Scrubber([Secret("sk-canary")])
    value = {"a": ["is sk-canary", 1, None, 2.5], "sk-canary": (True, {"b": "sk-canary"}), 3: "c"}

    scrubbed = scrub.value(value)

    assert scrubbed == {"a": ["is ***", 1, None, 2.5], "***": [True, {"b": "***"}], 3: "c"}


def basic(login: str) -> str:
    return base64.b64encode(login.encode()).decode()


def test_a_scrubber_reads_a_login() -> None:
    scrub = Scrubber([Secret(f"Basic {basic('someone:pass:word')}"), Secret(f"basic  {basic('only-a-token:')}")])

    assert scrub("someone with pass:word") == "someone with ***"
    assert scrub("only-a-token is wrong") == "*** is wrong"
    assert scrub("someone:pass:word") == "***"
    assert scrub(f"sent {basic('someone:pass:word')}") == "sent ***"


@pytest.mark.parametrize("login", ["Basic ~not~base64~", f"Basic {base64.b64encode(bytes(range(128, 160))).decode()}"])
def test_a_login_that_cannot_be_read_is_hidden_as_it_is(login: str) -> None:
    scrub = Scrubber([Secret(login)])

    assert scrub(f"sent {login.removeprefix('Basic ')}") == "sent ***"


def test_half_a_character_in_a_secret_is_no_obstacle() -> None:
    scrub = Scrubber([Secret("sk-\ud800-canary")])

    assert scrub("it is sk-\ud800-canary") == "it is ***"


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Proxy-Authorization", "authorization_token", "api_key", "apiKey", "X-Api-Key", "token"),
        *("access_token", "accessToken", "auth-token", "client_secret", "password", "session_token", "hf_token"),
    ],
)
def test_a_credential_in_a_requests_json_is_known_by_its_name(name: str) -> None:
    body = {"tools": [{"type": "mcp", "headers": {name: "canary"}}]}

    assert list(credentials_in(body)) == [Secret("canary")]
    assert without_credentials(body) == {"tools": [{"type": "mcp", "headers": {name: "***"}}]}


def test_credentials_in_the_url_of_a_server_are_found_in_json() -> None:
    server = {"type": "mcp", "server_url": "https://me:password-canary@host/mcp?token=token-canary&page=2"}
    image = {"image_url": {"url": "https://host/a.png?X-Amz-Signature=signature-canary"}}
    plain = {"url": "data:image/png;base64,aGk=", "server_url": "https://[broken?token=x", "text": "https://h/?token=x"}

    assert list(credentials_in({"tools": [server]})) == [Secret("password-canary"), Secret("token-canary")]
    assert list(credentials_in([image])) == [Secret("signature-canary")]
    assert list(credentials_in(plain)) == []


@pytest.mark.parametrize(
    "body",
    [
        {"eos_token": "</s>", "stop_token": "<|end|>", "max_tokens": 5, "prompt_cache_key": "river"},
        {"thinking": {"type": "thinking", "signature": "abcdef"}, "key": "river"},
        {"parameters": {"properties": {"password": {"type": "string"}, "token": {"type": "string"}}}},
        {"required": ["password", "token"], "tokenizer": "plain", "api_keys": 3, 5: "five"},
    ],
)
def test_what_only_sounds_like_a_credential_stays_in_a_requests_json(body: dict[str, object]) -> None:
    assert list(credentials_in(body)) == []
    assert without_credentials(body) == body
