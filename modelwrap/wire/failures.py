"""What a provider's refusal means: its own words out of any shape of body, and the class of error that they make.

The rules are tables: `_RULES` reads words, `_BY_STATUS` and `_BY_MARK` what they leave open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any

from modelwrap.errors import (
    AuthenticationFailed,
    BadRequest,
    CallError,
    ConnectionFailed,
    ContentFiltered,
    ContextTooLong,
    InvalidResponse,
    NotFound,
    Overloaded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    RedirectRefused,
    ServerFailed,
    TimedOut,
    UnsupportedParameter,
    clip,
)
from modelwrap.types import JSON
from modelwrap.wire import body as bodies
from modelwrap.wire.retry_after import retry_after, retry_after_in
from modelwrap.wire.urls import without_login

_LONGEST_MESSAGE = 1000
_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-amzn-requestid",
    "mistral-correlation-id",
    "x-typhoon-request-id",
    "cf-ray",
)
_ANY_REQUEST_ID = frozenset(_REQUEST_IDS)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Hold what a provider said when it refused."""

    message: str = ""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    """The HTTP status that the body itself names."""
    marks: str = ""
    """Every code, type and status in the body, in lower case, for rules to look into."""
    request_id: str | None = None
    retry_after: float | None = None
    """After how many seconds the body itself says to come again."""


def failure(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    """Make an HTTP answer that is no success into the error that it means."""
    headers = {name.lower(): value for name, value in headers.items()}
    text = bodies.text_of(body)
    refusal = read_body(body)
    if 300 <= status < 400:
        location = re.split("[?#]", without_login(headers.get("location", "nowhere")), maxsplit=1)[0]
        refusal = Refusal(f"the server redirects to {location}, and requests with a key are not sent on")
    error = refused(refusal, status, conflict_is_lock="openai-version" in headers)
    error.body = clip(text)
    error.request_id = request_id_of(headers) or refusal.request_id
    error.retry_after = retry_after(headers) or error.retry_after
    return error


def refused(refusal: Refusal, status: int, *, conflict_is_lock: bool = False) -> CallError:
    """Make a refusal into its error; `status` is what HTTP said, which may have been 200."""
    meant = status if status >= 300 else refusal.status
    if meant == 407:
        words = f"the proxy failed: {refusal.message or _no_words(meant)}"
        return ConnectionFailed(words, status=meant, retryable=False, sent=False)
    kind = _kind(refusal, meant)
    known: dict[str, Any] = {
        "status": meant or status,
        "code": refusal.code,
        "retryable": None,
        "retry_after": refusal.retry_after,
    }
    if kind is ServerFailed and meant is not None:
        may_pass = meant in _WORTH_RETRYING or (meant == 409 and conflict_is_lock)
        known["retryable"] = may_pass and not _STAYS_SO.search(refusal.message)
    elif kind is RateLimited and _NEVER_FITS.search(refusal.message):
        known["retryable"] = False
    elif kind is RateLimited:
        known["retry_after"] = refusal.retry_after or retry_after_in(refusal.message)
    if kind is TimedOut:
        known["limit"] = "provider"
    return kind(refusal.message or _no_words(meant or status), **known)


@contextmanager
def told_of(body: bytes, headers: Mapping[str, str]) -> Iterator[None]:
    """Put what came on an error that is found while it is read."""
    try:
        yield
    except CallError as error:
        error.body = error.body or clip(bodies.text_of(body))
        error.request_id = error.request_id or request_id_of(headers)
        raise


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Find the id under which a provider knows a request; names of headers are in lower case."""
    if _ANY_REQUEST_ID.isdisjoint(headers):
        return None
    return next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None)


# Reading bodies.


def read_body(body: bytes) -> Refusal:
    """Find the provider's words in a body of any shape."""
    text = bodies.text_of(body).strip()
    try:
        return read(bodies.loads(body))
    except InvalidResponse:
        return Refusal(_page_title(text) if bodies.looks_like_html(text) else _clipped(text))


def read(value: JSON) -> Refusal:
    """Find the provider's words in JSON of any shape."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return Refusal(_words(value))
    inner = _inner(value)
    return Refusal(
        message=_clipped(_message(inner) or _message(value)),
        code=_code(inner) or _code(value),
        param=_first_text(inner, value, keys=("param",)),
        status=_status(inner) or _status(value),
        marks=" ".join(_marks(value)).lower(),
        request_id=_first_text(value, inner, keys=("request_id",)),
        retry_after=_retry_delay(inner.get("details")),
    )


def says_error(value: dict[str, Any]) -> bool:
    """Tell whether JSON that came as a success, and is no reply, is a refusal."""
    if names_error(value):
        return True
    words = any(value.get(key) and isinstance(value[key], str) for key in _MESSAGE_KEYS)
    if value.get("code") in _CODES_OF_SUCCESS:
        return False
    return words and "model" not in value and ("id" not in value or isinstance(value.get("message"), str))


# Gateways that wrap whatever they answer say `{"code": 0, "message": "ok", "data": …}`.
_CODES_OF_SUCCESS = (0, 200, "0", "200")


def names_error(value: dict[str, Any]) -> bool:
    """Tell whether JSON calls itself an error, and does not merely hold words where errors have theirs."""
    if _base_fails(value):
        return True
    if value.get("object") == "error" or value.get("type") == "error":
        return True
    # Servers that answer 200 to everything.
    if value.get("success") is False or (type(value.get("status")) is int and value["status"] < 0):
        return True
    if _numbers_error(value):
        return True
    return any(says_what_failed(value.get(key)) for key in ("error", "errors", "detail", "fault", "error_message"))


def says_what_failed(error: JSON) -> bool:
    """Tell whether what stands where errors do is one; some gateways send an object of nothing with every answer."""
    if isinstance(error, dict):
        return any(map(says_what_failed, error.values()))
    return bool(error)


# Finish reasons that no model has: DeepSeek, Zhipu and gateways break an answer off so.
_BREAKING_OFF = frozenset(("error", "error_finish", "network_error", "network-error", "insufficient_system_resource"))


def breaking_off(choice: JSON) -> dict[str, Any] | None:
    """Give the error that a choice, whole or a piece, says by its finish reason."""
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    if not isinstance(reason, str) or reason not in _BREAKING_OFF:
        return None
    if says_what_failed(choice.get("error")):
        return dict(choice)
    return {"message": f"the provider broke the answer off: {reason}", "code": reason}


def error_beside(value: dict[str, Any]) -> bool:
    """Tell whether an error stands in JSON that may hold an answer, too."""
    return says_what_failed(value.get("error")) or _base_fails(value)


def _base_fails(value: dict[str, Any]) -> bool:
    """Tell whether MiniMax, which says of every answer how it went, says that it failed."""
    base = value.get("base_resp")
    return isinstance(base, dict) and bool(base.get("status_code"))


def _numbers_error(value: dict[str, Any]) -> bool:
    """Tell whether JSON gives an error by its number; 0 and 200 are those of none."""
    number = value.get("error_code")
    if isinstance(number, str):
        number = int(number[:9]) if number.isascii() and number.isdigit() else 0
    return type(number) is int and number not in (0, 200)


_MARK_KEYS = (
    *("code", "error_code", "status_code", "statusCode", "type", "error_type", "status", "reason", "param"),
    "quotaId",
)
_MESSAGE_KEYS = (
    *(
        "message",
        "detail",
        "msg",
        "error_msg",
        "error_message",
        "errorMessage",
        "Message",
        "status_msg",
        "error_description",
    ),
    *("faultstring", "title", "reason"),
)
_NESTED_KEYS = (
    *("error", "errors", "innererror", "inner_error", "metadata", "details", "detail", "base_resp", "fault"),
    "violations",
)


def _inner(value: dict[str, Any]) -> dict[str, Any]:
    """Step into the object that holds the words, where there is one."""
    for key in ("error", "errors", "base_resp", "fault", "detail"):
        inner = value.get(key)
        if isinstance(inner, list) and inner:
            inner = inner[0]
        if isinstance(inner, dict) and "loc" not in inner:
            return inner
    return value


def _message(value: dict[str, Any]) -> str:
    for key in ("error", *_MESSAGE_KEYS):
        words = value.get(key)
        if words and isinstance(words, (str, list, dict)):
            return _words(words) + _upstream(value)
    # FastChat's streams: the number of an error, and its words where those of an answer would be.
    text = value.get("text")
    return text if isinstance(text, str) and _numbers_error(value) else ""


def _upstream(value: dict[str, Any]) -> str:
    """Give what the provider behind a gateway said."""
    metadata = value.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f": {raw}" if isinstance(raw, str) and raw else ""


def _words(value: JSON) -> str:
    """Say any JSON as a sentence."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words, value)))
    if isinstance(value, dict):
        message = _message(value)
        place = value.get("loc")
        if isinstance(place, list) and message:
            return f"{'.'.join(map(str, place))}: {message}"
        return message or str(value)
    return "" if value is None else str(value)


# LiteLLM's proxy writes Python's word for it.
_NOTHING = ("", "None")


def _first_text(*values: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    for value in values:
        for key in keys:
            found = value.get(key)
            if isinstance(found, (str, int)) and not isinstance(found, bool) and found not in _NOTHING:
                return str(found)
    return None


def _code(value: dict[str, Any]) -> str | None:
    """Give what names the failure; a code that only repeats the status names nothing where there is a type."""
    code = _first_text(value, keys=("code", "error_code", "status_code"))
    kind = _first_text(value, keys=("type", "error_type", "status"))
    return kind if code is None or (kind is not None and re.fullmatch("[45][0-9]{2}", code)) else code


def _status(value: dict[str, Any]) -> int | None:
    for key in ("status_code", "statusCode", "http_status_code", "http_code", "status", "code", "raw_status_code"):
        found = value.get(key)
        if isinstance(found, str) and found.isascii() and found.isdigit():
            found = int(found[:9])
        if isinstance(found, int) and 400 <= found <= 599:
            return found
    return None


# Where Google says which quota it was.
_DEEPEST_MARK = 6


def _marks(value: JSON, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST_MARK:
        return
    if isinstance(value, list):
        for item in value[:8]:
            yield from _marks(item, depth + 1)
    elif isinstance(value, dict):
        for key in _MARK_KEYS:
            if isinstance(value.get(key), (str, int)):
                yield str(value[key])
        for key in _NESTED_KEYS:
            yield from _marks(value.get(key), depth + 1)


def _retry_delay(details: JSON) -> float | None:
    """Read when Google says to come again, which it does in no header."""
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d{1,9}(\.\d+)?s", delay, re.ASCII):
            return float(delay[:-1])
    return None


def _page_title(html: str) -> str:
    found = re.search(r"<(title|h1)[^>]*>(.*?)</\1", html[:20_000], re.IGNORECASE | re.DOTALL)
    title = " ".join(unescape(found[2]).split()) if found else ""
    return f"a web page: {title}" if title else "a web page"


def _clipped(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def _no_words(status: int) -> str:
    return f"the server answered {status} and said nothing"


# What words mean.

_WORTH_RETRYING = frozenset({425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530})
# llama.cpp answers 500 to what it was not built or started for.
_STAYS_SO = re.compile(r"not supported by this server|requires --\w|cannot use \w+ with", re.IGNORECASE)
_NEVER_FITS = re.compile(r"request too large|must be reduced in order to run", re.IGNORECASE)

_BY_STATUS: dict[int, type[CallError]] = {
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: PermissionDenied,
    404: NotFound,
    408: TimedOut,
    409: ServerFailed,
    410: NotFound,
    424: ServerFailed,
    425: ServerFailed,
    429: RateLimited,
    498: Overloaded,
    503: Overloaded,
    529: Overloaded,
}


@dataclass(frozen=True, slots=True)
class _Rule:
    """Read one class out of codes or, where a provider has none, out of its sentence."""

    error: type[CallError]
    statuses: frozenset[int]
    marks: re.Pattern[str]
    words: re.Pattern[str]

    def fits(self, refusal: Refusal, status: int | None) -> bool:
        if status is not None and status not in self.statuses:
            return False
        return bool(self.marks.search(refusal.marks) or self.words.search(refusal.message))


def _rule(error: type[CallError], statuses: set[int], marks: str, words: str) -> _Rule:
    return _Rule(error, frozenset(statuses), re.compile(marks), re.compile(words, re.IGNORECASE))


_RULES = (
    _rule(
        QuotaExhausted,
        {400, 401, 402, 403, 412, 429, 500, 503},
        r"insufficient_(user_)?(quota|balance|credits?|funds)|credit_balance_exhausted|(spend|usage)_limit_exceeded"
        r"|billing_(hard_limit|not_active)|exceeded_current_quota|arrearage|payment_required|quota_exhausted"
        r"|not_enough_balance|budget_exceeded|token_quota_reached|free_?tier_?only|credit_limit|perday",
        r"insufficient (account )?(quota|balance|credits?|funds)|credit balance is too low|out of credits"
        r"|run out of (\w+ )?credits|doesn't have any credits|used all available credits|spend(ing)? limit"
        r"|billing (hard limit|not active)|please recharge|account is in (good standing|arrears)"
        r"|not enough balance|budget has been exceeded|over budget|monthly included credits|credit limit exceeded"
        r"|reached your specified (\w+ )?usage limits|free allocation|free tier .{0,40}has been exhausted"
        r"|balance is (insufficient|not enough|too low)|overdue balance|(out of call volume|token) quota\b"
        # A limit of nothing is that of a model outside of the plan.
        r"|limit: 0\b(?![.,]\d)|credits are depleted|spending cap|余额不足|欠费",
    ),
    _rule(
        ContentFiltered,
        {400, 403, 422, 451, 500},
        r"content_?filter|content_policy_violation|responsibleaipolicyviolation|content_moderation|data_?inspection"
        r"|invalid_prompt|prohibited_content|moderation_(error|blocked)|safety_(check|block|violation)"
        r"|contentpolicyviolation|\b(bio|cyber)_policy|misalignment_policy|sensitivecontent",
        r"content management policy|content exists risk|content_? ?(policy|filter)|input (was )?flagged"
        r"|(unsafe|sensitive|new_sensitive)( or sensitive)? content|\bnew_sensitive\b"
        r"|flagged as (potentially )?violating|violates? (our |the )?(\w+ )?usage (guidelines|polic)"
        r"|inappropriate content|data may contain|(as a result of|by) (our|the) safety system|敏感内容"
        r"|is (content|request) moderated"
        r"|considered high risk",
    ),
    _rule(
        ContextTooLong,
        {400, 413, 422, 500},
        r"context_(length|window)_exceeded|exceed_context_size|tokens_limit_reached|prompt_too_long|model_max_prompt",
        r"(context|sequence) (length|window|size)|max context|prompt (is )?too long|input is too long"
        r"|exceeds? (the )?context limit"
        r"|maximum prompt length|exceeded model token limit|exceeds? (the )?max(imum)? (length|number of tokens)"
        r"|input token count|input tokens .*cannot exceed|number of tokens in the prompt|too many (input )?tokens"
        r"|max_new_tokens.* must be <=|must have less than \d+ tokens|max size: \d+ tokens|input length should be"
        r"|trying to keep the first \d+ tokens|(token|input|prompt) length too long|prompt ?超长"
        r"|tokens\) is too large"
        r"|reduce the length of the (messages|input|prompt)|longer than the (maximum )?(model|context)"
        r"|contextwindowexceeded|length of prompt_tokens|prompt length \(\d+\).* exceed",
    ),
    _rule(
        AuthenticationFailed,
        {400},
        r"invalid_api_key|api_key_invalid|authentication_error|unauthenticated|\bunauthorized\b",
        r"(incorrect|invalid) api[- ]key|api[- ]key (is )?(not valid|invalid|expired)",
    ),
    _rule(
        NotFound,
        {400, 422},
        r"model_not_found|model_not_exist|\binvalid_model\b|deployment_?notfound",
        r"model\S* .{0,120}(does not exist|not found|not exist|is not a valid model)|not a valid model id"
        r"|model identifier is invalid|^invalid model\b|invalid model name|unknown model|no such model|模型不存在",
    ),
    _rule(
        UnsupportedParameter,
        {400, 422},
        r"unsupported_parameter|unknown_parameter|unrecognized_parameter|extra_forbidden|unsupported_value(?!.*messages)",
        r"(unsupported|unknown|unrecognized) (request )?(parameter|argument|field)|extra inputs are not permitted"
        r"|property '?\S+ is unsupported|arguments? not supported|additional properties are not allowed"
        r"|unsupportedparamserror|unrecognized key"
        r"|\S+ (is|are) (not (supported|enabled|permitted)|deprecated) (with|for|on|by) this model|unknown name \"",
    ),
    _rule(
        Overloaded,
        {429, 500},
        r"overloaded|engine_overloaded|over_capacity|(?<!tier_)capacity_exceeded",
        r"\boverloaded\b|over capacity|at capacity|model is (currently )?loading|访问量过大",
    ),
)


def _word(pattern: str, error: type[CallError]) -> tuple[re.Pattern[str], type[CallError]]:
    return re.compile(pattern, re.IGNORECASE), error


# What a refusal under HTTP 200 means when its body names no status: by its codes, else by its words.
_BY_MARK = (
    _word(
        r"rate[_ ]?limit|too[_ ]many[_ ](requests|tokens)|resource[_ ]?(has been )?exhausted|throttl|limit_requests"
        r"|frequency limit|(requests?|concurrency) limit|high concurrency|限流|并发|频率过高",
        RateLimited,
    ),
    _word(
        r"unauthori[sz]ed|authenticat(e|ion)|invalid (credentials|(\w+ ){0,2}token|username)|wrong[_ ]api[_ ]key"
        r"|login fail",
        AuthenticationFailed,
    ),
    _word(r"quota[_ ]exceeded", QuotaExhausted),
    _word(r"time[d_ -]?( |_)?out|deadline[_ ]?exceeded", TimedOut),
    _word(r"permission|forbidden|not authorized|access denied", PermissionDenied),
    _word(r"not[_ ]?found|unexpected endpoint", NotFound),
    _word(
        r"insufficient_system_resource|\bbusy\b|temporarily[_ ]unavailable|service[_ ]unavailable"
        r"|is currently loading|not ready",
        Overloaded,
    ),
    _word(r"internal|server_?error", ServerFailed),
    _word(
        r"invalid[_ ]?(request|argument|param|input)|bad[_ ]?(request|input)|validation|does not support"
        r"|is not supported|(is|field) required|not allowed|(invalid|empty|unsupported)_(base64_)?image|image_too_"
        r"|image_(file_too|parse)_|failed_to_download_image|data_residency_mismatch",
        BadRequest,
    ),
)


def _kind(refusal: Refusal, status: int | None) -> type[CallError]:
    if status is not None and 300 <= status < 400:
        return RedirectRefused
    for rule in _RULES:
        if rule.fits(refusal, status):
            return rule.error
    if status is None:
        found = (kind for said in (refusal.marks, refusal.message) for marks, kind in _BY_MARK if marks.search(said))
        return next(found, ServerFailed)
    return _BY_STATUS.get(status) or (BadRequest if 400 <= status < 500 else ServerFailed)
