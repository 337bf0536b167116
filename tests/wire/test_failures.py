from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.wire import failures

E = errors


def failure(status: int, body: Any, headers: dict[str, str] | None = None) -> errors.CallError:
    sent = body if isinstance(body, str) else json.dumps(body)
    return failures.failure(status, headers or {}, sent.encode())


def said(message: str, **known: Any) -> dict[str, Any]:
    return {"error": {"message": message, **known}}


@pytest.mark.parametrize(
    "status, kind, retryable",
    [
        (301, E.RedirectRefused, False),
        (307, E.RedirectRefused, False),
        (400, E.BadRequest, False),
        (401, E.AuthenticationFailed, False),
        (402, E.QuotaExhausted, False),
        (403, E.PermissionDenied, False),
        (404, E.NotFound, False),
        (405, E.BadRequest, False),
        (408, E.TimedOut, True),
        (409, E.ServerFailed, False),
        (410, E.NotFound, False),
        (413, E.BadRequest, False),
        (415, E.BadRequest, False),
        (422, E.BadRequest, False),
        (424, E.ServerFailed, False),
        (425, E.ServerFailed, True),
        (429, E.RateLimited, True),
        (498, E.Overloaded, True),
        (500, E.ServerFailed, True),
        (501, E.ServerFailed, False),
        (502, E.ServerFailed, True),
        (503, E.Overloaded, True),
        (504, E.ServerFailed, True),
        (505, E.ServerFailed, False),
        (520, E.ServerFailed, True),
        (524, E.ServerFailed, True),
        (525, E.ServerFailed, False),
        (529, E.Overloaded, True),
        (530, E.ServerFailed, True),
    ],
)
def test_status_alone_makes_a_class(status: int, kind: type[errors.CallError], retryable: bool) -> None:
    error = failure(status, "")

    assert type(error) is kind
    assert error.retryable is retryable
    assert error.status == status
    assert error.message


@pytest.mark.parametrize(
    "status, body, kind",
    [
        # The context is too long, in everybody's words.
        (
            400,
            said("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
            E.ContextTooLong,
        ),
        (400, said("prompt is too long: 250000 tokens > 200000 maximum"), E.ContextTooLong),
        (400, said("Input is too long for requested model."), E.ContextTooLong),
        (
            400,
            said("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease either"),
            E.ContextTooLong,
        ),
        (
            400,
            said("the request exceeds the available context size", type="exceed_context_size_error"),
            E.ContextTooLong,
        ),
        (
            400,
            said("Requested token count exceeds the model's maximum context length of 4096 tokens."),
            E.ContextTooLong,
        ),
        (
            400,
            said("The input (9000 tokens) is longer than the model's context length (4096 tokens)."),
            E.ContextTooLong,
        ),
        (
            400,
            said("This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
            E.ContextTooLong,
        ),
        (400, said("Please reduce the length of the messages or completion."), E.ContextTooLong),
        (
            400,
            {
                "object": "error",
                "message": "Prompt contains 40001 tokens, too large for model with 32768 maximum context length",
            },
            E.ContextTooLong,
        ),
        (400, said("Range of input length should be [1, 30720]"), E.ContextTooLong),
        (400, said("Prompt exceeds max length", code="1261"), E.ContextTooLong),
        (400, said("Invalid request: Your request exceeded model token limit: 8192"), E.ContextTooLong),
        (400, said("the number of input tokens 5000 cannot exceed the total tokens limit 4096"), E.ContextTooLong),
        (400, said("prompt too long; exceeded max context length by 1119046 tokens"), E.ContextTooLong),
        (
            400,
            {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"},
            E.ContextTooLong,
        ),
        (
            422,
            {"error": "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000", "error_type": "validation"},
            E.ContextTooLong,
        ),
        (
            413,
            said("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"),
            E.ContextTooLong,
        ),
        (
            400,
            [said("The input token count (1250060) exceeds the maximum number of tokens allowed (1048575).")],
            E.ContextTooLong,
        ),
        (
            500,
            said("input (4002 tokens) is too large to process. increase the physical batch size", code=500),
            E.ContextTooLong,
        ),
        (400, said("Trying to keep the first 5000 tokens when context the overflows."), E.ContextTooLong),
        # Parameters.
        (
            400,
            said("Unsupported parameter: 'max_tokens'", code="unsupported_parameter", param="max_tokens"),
            E.UnsupportedParameter,
        ),
        (
            400,
            said(
                "Unsupported value: 'temperature' does not support 0.2", code="unsupported_value", param="temperature"
            ),
            E.UnsupportedParameter,
        ),
        (
            400,
            said("'messages[0].role' does not support 'system'", code="unsupported_value", param="messages[0].role"),
            E.BadRequest,
        ),
        (400, said("Unrecognized request argument supplied: stream_options"), E.UnsupportedParameter),
        (400, said("Unknown parameter: 'quality'.", code="unknown_parameter"), E.UnsupportedParameter),
        (
            422,
            {
                "detail": [
                    {"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
                ]
            },
            E.UnsupportedParameter,
        ),
        (400, said("property 'seeed' is unsupported, did you mean 'seed'?"), E.UnsupportedParameter),
        (400, said("Argument not supported on this model: stop"), E.UnsupportedParameter),
        (400, said("`logprobs` is not supported with this model"), E.UnsupportedParameter),
        (
            400,
            [
                said(
                    'Invalid JSON payload received. Unknown name "seeed": Cannot find field.', status="INVALID_ARGUMENT"
                )
            ],
            E.UnsupportedParameter,
        ),
        # Filters.
        (
            400,
            said(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy",
                code="content_filter",
            ),
            E.ContentFiltered,
        ),
        (400, {"error": {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, E.ContentFiltered),
        (400, said("Your request was rejected", code="content_policy_violation"), E.ContentFiltered),
        (200, said("This request was declined.", code="bio_policy"), E.ContentFiltered),
        (200, said("This content was flagged.", code="cyber_policy"), E.ContentFiltered),
        (200, said("The image could not be decoded.", code="invalid_base64_image"), E.BadRequest),
        (200, said("Too large.", code="image_file_too_large"), E.BadRequest),
        (200, said("It took too long.", code="vector_store_timeout"), E.TimedOut),
        (400, said("Content Exists Risk", code="invalid_request_error"), E.ContentFiltered),
        (400, said("Your request was rejected as a result of our safety system."), E.ContentFiltered),
        (400, said("Input data may contain inappropriate content.", code="data_inspection_failed"), E.ContentFiltered),
        (
            403,
            said('Your chosen model requires moderation and your input was flagged for "violence"', code=403),
            E.ContentFiltered,
        ),
        # Quota is not rate limit.
        (
            403,
            {"statusCode": 403, "message": "Out of call volume quota. It is replenished in 3 days."},
            E.QuotaExhausted,
        ),
        (403, {"statusCode": 403, "message": "Token quota is exceeded. Try again in 3 days."}, E.QuotaExhausted),
        (429, {"statusCode": 429, "message": "Token limit is exceeded. Try again in 13 seconds."}, E.RateLimited),
        (
            429,
            said(
                "You exceeded your current quota, please check your plan",
                type="insufficient_quota",
                code="insufficient_quota",
            ),
            E.QuotaExhausted,
        ),
        (429, said("no more", code="credit_balance_exhausted"), E.QuotaExhausted),
        (429, said("no more", code="organization_spend_limit_exceeded"), E.QuotaExhausted),
        (429, said("no more", code="organization_usage_limit_exceeded"), E.QuotaExhausted),
        (400, said("Billing hard limit has been reached", code="billing_hard_limit_reached"), E.QuotaExhausted),
        (429, said("Insufficient balance or no resource package. Please recharge.", code="1113"), E.QuotaExhausted),
        (402, said("Insufficient Balance"), E.QuotaExhausted),
        (429, said("Your account is suspended", type="exceeded_current_quota_error"), E.QuotaExhausted),
        (403, said("Your newly created team doesn't have any credits yet."), E.QuotaExhausted),
        (400, said("Your credit balance is too low to access the API."), E.QuotaExhausted),
        (429, [said("You exceeded your current quota", status="RESOURCE_EXHAUSTED", code=429)], E.RateLimited),
        (429, said("Rate limit reached for gpt-4o on tokens per min (TPM)", code="rate_limit_exceeded"), E.RateLimited),
        # Keys and models under a 400.
        (
            400,
            {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: ab***cd."},
            E.AuthenticationFailed,
        ),
        (
            400,
            [said("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT")],
            E.AuthenticationFailed,
        ),
        (400, said("Model no-such/model does not exist", code=400), E.NotFound),
        (400, said("no-such/model is not a valid model ID", code=400), E.NotFound),
        (
            400,
            {"object": "error", "message": "Invalid model: no-such-model", "type": "invalid_model", "code": "1500"},
            E.NotFound,
        ),
        # Overload under other names.
        (
            429,
            said("The engine is currently overloaded, please try again later", type="engine_overloaded_error"),
            E.Overloaded,
        ),
        (500, said("The server is overloaded", type="server_error"), E.Overloaded),
        (400, {"message": "The provided model identifier is invalid."}, E.NotFound),
        (400, said("`temperature` is deprecated for this model."), E.UnsupportedParameter),
        # A wrong value is no unsupported parameter, and a long answer no long prompt.
        (
            400,
            said("max_tokens is too large: 50000. This model supports at most 16384 completion tokens"),
            E.BadRequest,
        ),
        (400, said("Invalid type for 'temperature': expected a decimal"), E.BadRequest),
        (422, {"error": "`inputs` must have less than 1024 tokens. Given: 5000"}, E.ContextTooLong),
        # Money and filters, by the words of gateways and clouds.
        (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}, E.QuotaExhausted),
        (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, E.QuotaExhausted),
        (403, said("Your account has an overdue balance.", code="AccountOverdueError"), E.QuotaExhausted),
        (400, said("Budget has been exceeded! Max budget: 0.5", type="budget_exceeded"), E.QuotaExhausted),
        (400, said("You have reached your specified API usage limits. It ends on 2026-12-01."), E.QuotaExhausted),
        (403, {"errors": [{"code": "token_quota_reached", "message": "no"}]}, E.QuotaExhausted),
        (403, said("no", code="AllocationQuota.FreeTierOnly"), E.QuotaExhausted),
        (500, said("no", code="insufficient_user_quota"), E.QuotaExhausted),
        (429, said("you have used up your daily free allocation"), E.QuotaExhausted),
        (403, said("Input flagged", metadata={"reasons": ["violence"]}), E.ContentFiltered),
        (400, said("System detected potentially unsafe or sensitive content", code="1301"), E.ContentFiltered),
        (400, said("litellm.ContentPolicyViolationError: no"), E.ContentFiltered),
        (400, said("litellm.UnsupportedParamsError: x does not support parameters: ['n']"), E.UnsupportedParameter),
        (429, {"message": "no", "type": "service_tier_capacity_exceeded", "code": "3505"}, E.RateLimited),
        (400, said("litellm.ContextWindowExceededError: OpenAIException"), E.ContextTooLong),
        (400, said("/chat/completions: Invalid model name passed in model=a. Call `/v1/models`"), E.NotFound),
        (
            400,
            {"code": 20015, "message": "length of prompt_tokens (9) must be less than max_seq_len"},
            E.ContextTooLong,
        ),
        (400, said("The sum of prompt length (5000) should not exceed max_num_tokens (4096)"), E.ContextTooLong),
        (400, said("Input token length too long"), E.ContextTooLong),
        (400, said("The request was rejected because it was considered high risk"), E.ContentFiltered),
        (400, said("no", code="InputTextSensitiveContentDetected"), E.ContentFiltered),
        # In Chinese.
        (429, said("您的账户已欠费,请充值后重试", code="1113"), E.QuotaExhausted),
        (429, said("余额不足或无可用资源包,请充值。", code="1113"), E.QuotaExhausted),
        (400, said("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301"), E.ContentFiltered),
        (400, said("模型不存在,请检查模型代码", code="1211"), E.NotFound),
        (400, said("Prompt 超长", code="1261"), E.ContextTooLong),
        (429, said("该模型当前访问量过大,请您稍后再试", code="1305"), E.Overloaded),
        (200, said("您当前使用该 API 的并发数过高", code="1302"), E.RateLimited),
    ],
)
def test_words_say_more_than_the_status(status: int, body: Any, kind: type[errors.CallError]) -> None:
    assert type(failure(status, body)) is kind


@pytest.mark.parametrize(
    "body, message, code",
    [
        (said("no", code="bad", type="worse"), "no", "bad"),
        (said("no", code=400, type="BadRequestError"), "no", "BadRequestError"),
        (said("no", code=None, type="limit"), "no", "limit"),
        (said("no", code=400), "no", "400"),
        (said("no", code="429", type="None", param="None"), "no", "429"),
        ({"text": "out of memory", "error_code": 50002}, "out of memory", "50002"),
        ({"error": "no"}, "no", None),
        ({"error": "no", "code": "bad"}, "no", "bad"),
        ({"error": ["no", "never"]}, "no; never", None),
        ({"error": {"error": {"message": "no"}}}, "no", None),
        ({"detail": "no"}, "no", None),
        ({"detail": {"message": "no", "code": "bad"}}, "no", "bad"),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "must be a number", "type": "int"}]},
            "body.n: must be a number",
            None,
        ),
        ({"message": "no", "request_id": "r1"}, "no", None),
        ({"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "no"}]}}, "body: no", None),
        ({"errors": [{"message": "no", "code": 7000}], "success": False}, "no", "7000"),
        ({"base_resp": {"status_code": 1004, "status_msg": "no"}, "choices": None}, "no", "1004"),
        ({"fault": {"faultstring": "no"}}, "no", None),
        ({"code": 1302, "msg": "no"}, "no", "1302"),
        ([said("no", status="INVALID_ARGUMENT", code=400)], "no", "INVALID_ARGUMENT"),
        (said("Provider returned error", metadata={"raw": "busy"}), "Provider returned error: busy", None),
        ("no", "no", None),
        ('"no"', "no", None),
        ("12", "12", None),
        ("<html><head><title>502 Bad\n Gateway</title></head></html>", "a web page: 502 Bad Gateway", None),
        ("<html><h1>Oops &amp; sorry</h1></html>", "a web page: Oops & sorry", None),
        ("<html></html>", "a web page", None),
        ("null", "the server answered 400 and said nothing", None),
        ("{}", "the server answered 400 and said nothing", None),
        ("[]", "the server answered 400 and said nothing", None),
        ('{"error": {"reasons": [1]}}', "{'reasons': [1]}", None),
    ],
)
def test_the_providers_words_are_found_in_any_shape(body: Any, message: str, code: str | None) -> None:
    error = failure(400, body)

    assert error.message == message
    assert error.code == code


def test_error_carries_what_a_person_needs_to_ask_the_provider() -> None:
    headers = {"X-Request-Id": "r1", "Retry-After": "7"}

    error = failure(429, said("slow down " + "x" * 9000), headers)

    assert error.request_id == "r1"
    assert error.retry_after == 7.0
    assert len(error.message) < 1100
    assert len(error.body or "") < 3000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_request_id_may_stand_in_the_body() -> None:
    assert failure(401, {"message": "no", "request_id": "r2"}).request_id == "r2"


def test_body_of_endless_depth_is_still_a_refusal() -> None:
    body: Any = {"message": "deep"}
    for _ in range(50):
        body = {"error": body}

    assert type(failure(400, body)) is errors.BadRequest


def test_redirect_names_where_without_its_query() -> None:
    error = failure(302, "", {"location": "https://example.com/login?token=abc"})

    assert "https://example.com/login" in error.message
    assert "abc" not in error.message


def test_redirect_names_no_login_and_no_fragment() -> None:
    error = failure(302, "", {"location": "https://me:secret@example.com/login#token=abc"})

    assert "https://example.com/login," in error.message


def test_a_proxy_that_wants_a_login_is_not_taken_for_the_provider() -> None:
    error = failure(407, "Log in")

    assert isinstance(error, errors.ConnectionFailed)
    assert (error.message, error.retryable, error.sent) == ("the proxy failed: Log in", False, False)


def test_conflict_is_retried_only_where_it_means_a_lock() -> None:
    assert not failure(409, "").retryable
    assert failure(409, "", {"openai-version": "2020-10-01"}).retryable


def test_request_that_never_fits_the_limit_is_not_sent_again() -> None:
    body = said("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 50000.")

    error = failure(429, body)

    assert type(error) is errors.RateLimited
    assert not error.retryable


def test_what_a_server_was_not_started_for_is_not_asked_again() -> None:
    assert not failure(500, said("tools param requires --jinja flag", code=500)).retryable
    assert failure(500, said("something broke", code=500)).retryable


@pytest.mark.parametrize(
    "value, kind",
    [
        (said("slow", code=429), E.RateLimited),
        (said("slow", code="rate_limit_exceeded"), E.RateLimited),
        (said("busy", type="overloaded_error"), E.Overloaded),
        (said("late", type="timeout"), E.TimedOut),
        (said("no", type="permission_error"), E.PermissionDenied),
        (said("no", type="not_found_error"), E.NotFound),
        (said("no", type="server_error"), E.ServerFailed),
        (said("no", type="invalid_request_error"), E.BadRequest),
        (said("no", code="invalid_api_key"), E.AuthenticationFailed),
        (said("no", status_code=400), E.BadRequest),
        (said("no", code="503"), E.Overloaded),
        (said("no"), E.ServerFailed),
        ({"statusCode": 429, "message": "no"}, E.RateLimited),
        (said("no", http_status_code=422), E.BadRequest),
        ({"message": "Requests rate limit exceeded"}, E.RateLimited),
        ({"error": "Unauthorized"}, E.AuthenticationFailed),
        ({"id": "x", "message": "invalid api token"}, E.AuthenticationFailed),
        ({"base_resp": {"status_code": 1004, "status_msg": "login fail: carry the key"}}, E.AuthenticationFailed),
        ({"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}, E.ContentFiltered),
        (said("server busy, please try again", type="api_error"), E.Overloaded),
        ({"error": "Model x is currently loading"}, E.Overloaded),
        ({"error": "Request timed out"}, E.TimedOut),
        (said("quota exceeded"), E.QuotaExhausted),
        ({"error": "Unexpected endpoint or method. (POST /chat)"}, E.NotFound),
        ({"error": "'messages' field is required"}, E.BadRequest),
        (said("x does not support tools", type="api_error"), E.BadRequest),
    ],
)
def test_refusal_under_a_success_is_read_by_its_words(value: Any, kind: type[errors.CallError]) -> None:
    assert type(failures.refused(failures.read(value), 200)) is kind


@pytest.mark.parametrize(
    "value, says",
    [
        ({"error": "no"}, True),
        ({"object": "error", "message": "no"}, True),
        ({"type": "error", "code": 1}, True),
        ({"detail": "no"}, True),
        ({"message": "no", "code": 3}, True),
        ({"base_resp": {"status_code": 1004}}, True),
        ({"base_resp": {"status_code": 0}}, False),
        ({"error": None, "id": "x"}, False),
        ({"id": "x", "usage": {}}, False),
        ({"model": "m", "message": {"content": "hi"}}, False),
        ({"id": "x", "message": "no"}, True),
        ({"id": "x", "model": "m", "choices": None, "error_type": "BadRequestError", "error_message": "no"}, True),
        ({"type": "message_start", "message": {"id": "x", "role": "assistant"}}, False),
        ({"id": "x", "message": {"content": "hi"}}, False),
        ({"fault": {"faultstring": "no"}}, True),
        ({"text": "no", "error_code": 50001}, True),
        ({"text": "no", "error_code": "110"}, True),
        ({"text": "yes", "error_code": 0}, False),
        ({"text": "yes", "error_code": "0000"}, False),
        ({"text": "yes", "error_code": 200}, False),
        ({"text": "yes", "error_code": "SUCCESS"}, False),
        ({"id": "x", "error": {"message": "", "code": None}}, False),
    ],
)
def test_refusal_is_told_from_other_json(value: dict[str, Any], says: bool) -> None:
    assert failures.says_error(value) is says
