"""What a model does with a credential that can be fetched anew."""

from __future__ import annotations

import pytest

from modelwrap.errors import AuthenticationFailed, CredentialError
from modelwrap.models.openai import OpenAI
from modelwrap.runtime.auth import Credential, Token
from modelwrap.secrets import Secret
from modelwrap.wire.http import Endpoint
from tests.colours import Colour
from tests.loopback import Loopback, chat_answer, error_answer, stream_answer


def tokens(*texts: str) -> Credential:
    left = list(texts)

    def fetch() -> Token:
        if not left:
            raise CredentialError("no tokens are left")
        return Token(Secret(left.pop(0)), 3600.0)

    return Credential(fetch)


def model_at(server: Loopback, *texts: str) -> OpenAI:
    model = OpenAI("m", "m", Endpoint(server.base_url))
    model.credential = tokens(*texts)
    return model


def sent(server: Loopback) -> list[str]:
    return [asked.headers["authorization"] for asked in server.asked]


def test_a_refused_token_is_fetched_anew_and_the_request_sent_once_more(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(401, "expired"), chat_answer())

    reply = colour.call(model_at(server, "token-one", "token-two"))

    assert (reply.text, reply.meta.attempts) == ("Hello", 2)
    assert sent(server) == ["Bearer token-one", "Bearer token-two"]


def test_a_stream_does_the_same(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(401, "expired"), stream_answer("Hel", "lo"))

    _, reply = colour.stream(model_at(server, "token-one", "token-two"))

    assert reply.text == "Hello"
    assert sent(server) == ["Bearer token-one", "Bearer token-two"]


def test_a_second_refusal_is_final_and_shows_no_token(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(401, "wrong: token-one"), error_answer(401, "wrong: token-two"))

    with pytest.raises(AuthenticationFailed) as caught:
        colour.call(model_at(server, "token-one", "token-two", "token-three"))

    assert len(server.asked) == caught.value.attempts == 2
    assert "token-two" not in str(caught.value) + repr(vars(caught.value))


def test_a_login_that_fails_is_no_attempt(colour: Colour, server: Loopback) -> None:
    with pytest.raises(CredentialError, match="no tokens are left") as caught:
        colour.call(model_at(server))

    assert (caught.value.attempts, caught.value.model, server.asked) == (0, "m", [])


def test_an_explanation_shows_that_a_token_goes_out_and_not_which(server: Loopback) -> None:
    explanation = model_at(server, "token-one").explain("Hi")

    assert explanation.headers["authorization"] == "***"
