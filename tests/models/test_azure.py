"""OpenAI's models on Azure: where they are, who asks, and what Azure's filters say."""

from __future__ import annotations

import json
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import BadRequest, ConfigError, ContentFiltered, MissingSecret, NotFound, RateLimited
from modelwrap.models import azure_urls
from tests.colours import Colour
from tests.loopback import Answer, Loopback, chat_answer, chat_body, chunk, event, json_answer

ENDPOINT = "https://mine.openai.azure.com"
KEY = "azure-canary-1"
VARIABLES = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def load(model_type: str = "azure_openai", **config: Any) -> modelwrap.Model:
    given = {"config_name": "a", "model_type": model_type, "model": "gpt-4.1-mini", "api_key": KEY, **config}
    return modelwrap.load(given)["a"]


def url_of(*, model_type: str = "azure_openai", given: Any = "Hi", **client_args: Any) -> str:
    return load(model_type, client_args={"azure_endpoint": ENDPOINT, **client_args}).explain(given).url


# Where.


@pytest.mark.parametrize(
    "client_args, url",
    [
        ({}, f"{ENDPOINT}/openai/v1/chat/completions"),
        ({"api_version": "preview"}, f"{ENDPOINT}/openai/v1/chat/completions?api-version=preview"),
        (
            {"api_version": "2025-01-01-preview"},
            f"{ENDPOINT}/openai/deployments/gpt-4.1-mini/chat/completions?api-version=2025-01-01-preview",
        ),
        (
            {"api_version": "2024-10-21", "azure_deployment": "mine one"},
            f"{ENDPOINT}/openai/deployments/mine%20one/chat/completions?api-version=2024-10-21",
        ),
        ({"azure_endpoint": f"{ENDPOINT}/"}, f"{ENDPOINT}/openai/v1/chat/completions"),
        ({"azure_endpoint": "mine.openai.azure.com"}, f"{ENDPOINT}/openai/v1/chat/completions"),
        ({"azure_endpoint": f"{ENDPOINT}/openai/v1/"}, f"{ENDPOINT}/openai/v1/chat/completions"),
        (
            {"azure_endpoint": f"{ENDPOINT}//openai/deployments/x/chat/completions?api-version=2024-02-01"},
            f"{ENDPOINT}/openai/deployments/x/chat/completions?api-version=2024-02-01",
        ),
        (
            {"azure_endpoint": f"{ENDPOINT}/openai", "api_version": "2024-02-01"},
            f"{ENDPOINT}/openai/deployments/gpt-4.1-mini/chat/completions?api-version=2024-02-01",
        ),
        (
            {"azure_endpoint": "https://hub.services.ai.azure.com/api/projects/p/openai/v1"},
            "https://hub.services.ai.azure.com/api/projects/p/openai/v1/chat/completions",
        ),
        (
            {"azure_endpoint": "https://hub.services.ai.azure.com/models"},
            "https://hub.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
        (
            {"azure_endpoint": "https://hub.services.ai.azure.com/models/chat/completions?api-version=2025-01-01"},
            "https://hub.services.ai.azure.com/models/chat/completions?api-version=2025-01-01",
        ),
        ({"azure_endpoint": f"{ENDPOINT}/openai/deployments/"}, f"{ENDPOINT}/openai/v1/chat/completions"),
        ({"azure_endpoint": f"{ENDPOINT}/openai/models"}, f"{ENDPOINT}/openai/v1/chat/completions"),
        (
            {"default_query": {"api-version": "2024-02-01"}},
            f"{ENDPOINT}/openai/deployments/gpt-4.1-mini/chat/completions?api-version=2024-02-01",
        ),
        (
            {"api_version": "2024-02-01", "default_query": {"trace": "on"}},
            f"{ENDPOINT}/openai/deployments/gpt-4.1-mini/chat/completions?trace=on&api-version=2024-02-01",
        ),
    ],
)
def test_an_endpoint_in_any_form_leads_to_the_deployment(client_args: dict[str, Any], url: str) -> None:
    assert url_of(**client_args) == url


def test_an_endpoint_may_be_written_as_a_base_url() -> None:
    model = load(client_args={"base_url": ENDPOINT, "api_version": "2024-10-21"})

    assert model.explain("Hi").url.startswith(f"{ENDPOINT}/openai/deployments/gpt-4.1-mini/chat/")


def test_the_environment_says_what_the_config_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ENDPOINT)
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)

    explained = load(api_key=None).explain("Hi")

    assert explained.url == f"{ENDPOINT}/openai/deployments/gpt-4.1-mini/chat/completions?api-version=2024-10-21"
    assert explained.headers["api-key"] == "***"
    assert "authorization" not in explained.headers


@pytest.mark.parametrize(
    "url, sent",
    [
        (f"{ENDPOINT}/openai/v1", f"{ENDPOINT}/openai/v1/chat/completions"),
        (
            "https://hub.services.ai.azure.com/models",
            "https://hub.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
    ],
)
def test_the_version_of_deployments_in_the_environment_is_no_other_path_s(
    url: str, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")

    assert url_of(azure_endpoint=url) == sent


@pytest.mark.parametrize("where", ["azure_endpoint", "base_url", "AZURE_OPENAI_ENDPOINT"])
def test_a_wrong_endpoint_is_named_where_it_was_written(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://ex ample.org")
    client_args = {} if where == "AZURE_OPENAI_ENDPOINT" else {where: "https://ex ample.org"}

    with pytest.raises(ConfigError, match=where):
        load(client_args=client_args)


@pytest.mark.parametrize(
    "model_type, given, path",
    [
        ("azure_openai_embedding", "Hi", "embeddings"),
        ("azure_openai_dall_e", "Hi", "images/generations"),
    ],
)
def test_other_operations_stand_beside_chat(model_type: str, given: Any, path: str) -> None:
    by_deployment = url_of(model_type=model_type, given=given, api_version="2024-10-21")

    assert url_of(model_type=model_type, given=given) == f"{ENDPOINT}/openai/v1/{path}"
    assert by_deployment == f"{ENDPOINT}/openai/deployments/gpt-4.1-mini/{path}?api-version=2024-10-21"


def test_where_no_path_says_it_the_body_names_the_deployment() -> None:
    by_path = load(client_args={"azure_endpoint": ENDPOINT, "azure_deployment": "mine", "api_version": "2024-10-21"})
    by_body = load(client_args={"azure_endpoint": ENDPOINT, "azure_deployment": "mine"})

    by_models = load(
        client_args={"azure_endpoint": "https://h.services.ai.azure.com/models", "azure_deployment": "mine"}
    )

    assert by_path.explain("Hi").body["model"] == "gpt-4.1-mini"
    assert by_models.explain("Hi").body["model"] == "mine"
    assert by_body.explain("Hi").body["model"] == "mine"


def test_responses_are_asked_for_beside_the_deployments() -> None:
    client_args = {"azure_endpoint": ENDPOINT, "azure_deployment": "mine", "api_version": "2025-04-01-preview"}

    explained = load(api="responses", client_args=client_args).explain("Hi")

    assert explained.url == f"{ENDPOINT}/openai/responses?api-version=2025-04-01-preview"
    assert explained.body["model"] == "mine"


@pytest.mark.parametrize("path", ["/openai/responses?api-version=2025-04-01-preview", "/openai/v1/responses"])
def test_an_endpoint_that_was_pasted_with_responses_asks_there(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ENDPOINT + path)

    assert load(client_args={"azure_endpoint": ENDPOINT + path}).explain("Hi").url == ENDPOINT + path
    assert load().explain("Hi").url == ENDPOINT + path


def test_responses_are_none_of_foundry_s_models() -> None:
    there = "https://hub.services.ai.azure.com"

    explained = load(api="responses", client_args={"azure_endpoint": f"{there}/models"}).explain("Hi")

    assert explained.url == f"{there}/openai/v1/responses"


def test_what_a_model_accepts_is_known_whatever_its_deployment_is_called() -> None:
    body = load(
        model="gpt-5.5", client_args={"azure_endpoint": "https://gateway.example.com", "azure_deployment": "prod"}
    ).explain("Hi", max_tokens=5)

    assert body.body["max_completion_tokens"] == 5


def test_a_call_for_another_deployment_than_the_path_says_is_refused(colour: Colour, server: Loopback) -> None:
    client_args = {"azure_endpoint": f"http://127.0.0.1:{server.port}", "api_version": "2024-10-21"}

    with pytest.raises(BadRequest, match="another deployment"):
        colour.call(load(client_args=client_args), "Hi", model="other")

    assert server.asked == []


# Who.


def test_a_key_goes_out_under_azure_s_name(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())

    reply = colour.call(load(client_args={"azure_endpoint": f"http://127.0.0.1:{server.port}"}))

    assert reply.text == "Hello"
    assert server.asked[0].headers["api-key"] == KEY
    assert "authorization" not in server.asked[0].headers


def test_a_token_that_one_has_goes_out_as_one(monkeypatch: pytest.MonkeyPatch, server: Loopback) -> None:
    server.script(chat_answer())
    endpoint = f"http://127.0.0.1:{server.port}"
    load(api_key=None, client_args={"azure_endpoint": endpoint, "azure_ad_token": "token-1"})("Hi")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "token-2")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "never")
    load(api_key=None)("Hi")

    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer token-1", "Bearer token-2"]
    assert not any("api-key" in asked.headers for asked in server.asked)


def test_a_gateway_s_own_header_goes_beside_a_key_and_is_enough_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "never")
    headers = {"Ocp-Apim-Subscription-Key": "gateway-canary"}
    client_args = {"azure_endpoint": "https://gateway.example.com", "default_headers": headers}

    beside = load(client_args=client_args).explain("Hi").headers
    alone = load(api_key=None, client_args=client_args).explain("Hi").headers

    assert (beside["api-key"], beside["ocp-apim-subscription-key"]) == ("***", "***")
    assert alone["ocp-apim-subscription-key"] == "***"
    assert "api-key" not in alone
    assert "authorization" not in alone


@pytest.mark.parametrize("header", ["api-key", "Authorization"])
def test_a_header_of_the_config_stands_in_the_place_of_a_key(server: Loopback, header: str) -> None:
    server.script(chat_answer())
    who = {"azure_ad_token": "never"} if header == "Authorization" else {}
    endpoint = f"http://127.0.0.1:{server.port}"

    load(
        api_key=None if who else "never",
        client_args={"azure_endpoint": endpoint, "default_headers": {header: "Bearer mine"}, **who},
    )("Hi")

    assert server.asked[0].headers[header.lower()] == "Bearer mine"
    assert "never" not in str(server.asked[0].headers)


def test_nothing_of_the_environment_goes_to_a_host_that_is_not_azure_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)

    with pytest.raises(MissingSecret, match=r"gateway\.example\.com is none of Azure's hosts"):
        load(api_key=None, client_args={"azure_endpoint": "https://gateway.example.com"})


@pytest.mark.parametrize(
    "host, cloud",
    [
        ("mine.openai.azure.com", "azure.com"),
        ("mine.cognitiveservices.azure.com", "azure.com"),
        ("hub.services.ai.azure.com", "azure.com"),
        ("mine.openai.azure.us", "azure.us"),
        ("mine.openai.azure.cn", "azure.cn"),
    ],
)
def test_tokens_are_asked_for_the_cloud_of_the_host(host: str, cloud: str) -> None:
    assert azure_urls.is_azure(host)
    assert azure_urls.scope(f"https://{host}/openai/v1") == f"https://cognitiveservices.{cloud}/.default"
    assert azure_urls.scope(f"https://{host}/api/projects/p/openai/v1") == f"https://ai.{cloud}/.default"


@pytest.mark.parametrize("host", ["openai.azure.com.evil.org", "evilopenai.azure.com", "azure.com", "127.0.0.1"])
def test_other_hosts_are_not_azure_s(host: str) -> None:
    assert not azure_urls.is_azure(host)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"client_args": {}}, "client_args.azure_endpoint: it is not given"),
        ({"client_args": {"azure_endpoint": ENDPOINT, "base_url": ENDPOINT}}, "stands there twice"),
        ({"client_args": {"azure_endpoint": ENDPOINT, "credential": "cli"}}, "says who logs in"),
        ({"client_args": {"azure_endpoint": ENDPOINT, "credential": "az"}}, "credential"),
        ({"client_args": {"azure_endpoint": ENDPOINT, "azure_enpoint": "x"}}, "azure_enpoint"),
        ({"client_args": {"azure_endpoint": ENDPOINT}, "transport": "sdk"}, "azure_openai logs in itself"),
        ({"client_args": {"azure_endpoint": ENDPOINT}, "preset": "groq"}, "preset"),
        ({"client_args": {"azure_endpoint": "http://mine.openai.azure.com"}}, "http"),
    ],
)
def test_mistakes_in_a_config_are_told(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(**config)


# What Azure says.

RESULTS = {"hate": {"filtered": False, "severity": "safe"}, "jailbreak": {"filtered": False, "detected": False}}


def azure(server: Loopback, model_type: str = "azure_openai") -> modelwrap.Model:
    return load(model_type, client_args={"azure_endpoint": f"http://127.0.0.1:{server.port}"})


def test_what_the_filters_found_is_kept(colour: Colour, server: Loopback) -> None:
    body = chat_body("Hello")
    body["choices"][0]["content_filter_results"] = RESULTS
    server.script(
        json_answer({**body, "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": RESULTS}]})
    )

    reply: Any = colour.call(azure(server))

    assert reply.choices[0].content_filter_results == RESULTS
    assert reply.prompt_filter_results[0]["content_filter_results"] == RESULTS


def test_what_the_filters_found_is_kept_of_a_stream(colour: Colour, server: Loopback) -> None:
    asked = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": RESULTS}]}
    last = chunk(finish_reason="stop")
    last["choices"][0]["content_filter_results"] = RESULTS
    pieces: list[bytes | float] = [event(asked), event(chunk("Hel")), event(chunk("lo")), event(last), event(b"[DONE]")]
    server.script(Answer(200, {"content-type": "text/event-stream"}, pieces))

    _, reply = colour.stream(azure(server))
    made: Any = reply

    assert reply.text == "Hello"
    assert made.choices[0].content_filter_results == RESULTS
    assert made.prompt_filter_results[0]["content_filter_results"] == RESULTS


@pytest.mark.parametrize("model_type", ["azure_openai", "azure_openai_dall_e", "azure_openai_embedding"])
def test_a_filtered_prompt_is_told_as_one_and_not_sent_again(colour: Colour, server: Loopback, model_type: str) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": RESULTS}
    words = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    refusal = {"message": words, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
    server.script(json_answer({"error": {**refusal, "innererror": inner}}, 400))

    with pytest.raises(ContentFiltered) as caught:
        colour.call(azure(server, model_type))

    assert (caught.value.code, len(server.asked)) == ("content_filter", 1)
    assert "jailbreak" in (caught.value.body or "")


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (
            404,
            {
                "error": {
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist.",
                }
            },
            NotFound,
        ),
        (404, {"error": {"code": "404", "message": "Resource not found"}}, NotFound),
        (
            429,
            {"error": {"code": "429", "message": "Requests have exceeded the call rate limit of your tier."}},
            RateLimited,
        ),
    ],
)
def test_refusals_have_their_class(server: Loopback, status: int, body: Any, kind: type[Exception]) -> None:
    server.script(json_answer(body, status))

    with pytest.raises(kind):
        azure(server)("Hi", max_retries=0)


def test_images_and_vectors_come_from_azure_too(colour: Colour, server: Loopback) -> None:
    server.script(
        json_answer({"created": 1, "data": [{"url": "https://host/a.png", "content_filter_results": RESULTS}]})
    )
    images: Any = colour.call(azure(server, "azure_openai_dall_e"), "a cat")
    server.script(json_answer({"data": [{"index": 0, "embedding": [1.0]}], "model": "ada"}))
    vectors: Any = colour.call(azure(server, "azure_openai_embedding"), "a cat")

    assert images.data[0].content_filter_results == RESULTS
    assert vectors.embeddings == [[1.0]]
    assert {asked.headers["api-key"] for asked in server.asked} == {KEY}
    assert json.dumps([asked.path for asked in server.asked]).count("/openai/v1/") == 2
