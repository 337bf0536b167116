"""Everything that modelwrap raises on purpose.

ModelwrapError
├── ConfigError                 a mistake in a config or in how the library is used; never retried
│   ├── UnknownModelType
│   ├── UnknownModel
│   ├── MissingSecret
│   ├── MissingPackage
│   └── WeightsUnavailable      weights that are not here and cannot be fetched
├── WouldDeadlock               a blocking wait in the thread that has to answer it
├── RealRequestForbidden        a request to a provider while a test forbids them
├── ReplayMismatch              a recording that does not fit what the code asks
└── CallError                   a call that failed; `retryable` says whether trying again can help
    ├── BadRequest
    │   ├── ContextTooLong
    │   └── UnsupportedParameter
    ├── ContentFiltered
    ├── AuthenticationFailed
    ├── PermissionDenied
    ├── NotFound
    ├── RateLimited             *
    ├── QuotaExhausted
    ├── Overloaded              *
    ├── ServerFailed            *
    ├── TimedOut                *
    ├── ConnectionFailed        *
    ├── TLSFailed
    ├── RedirectRefused
    ├── CredentialError
    ├── InvalidResponse
    │   └── ResponseTooLarge
    ├── StreamFailed
    │   └── StreamTruncated
    └── AllEndpointsFailed

The starred are retryable by default; an instance may say otherwise.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modelwrap.types import Attempt, Change, ChatReply

_LONGEST_BODY = 2048


class ModelwrapError(Exception):
    """Be the base of every error that modelwrap raises on purpose."""


class ConfigError(ModelwrapError):
    """A mistake in a config, or in how the library is used; it says where, and what was probably meant."""


class UnknownModelType(ConfigError):
    """A `model_type` that nobody registered."""


class UnknownModel(ConfigError, KeyError):
    """No model has this name."""

    # A KeyError too, so that `in` and `get` of a mapping of models do what they do elsewhere.

    def __str__(self) -> str:
        # A KeyError's own shows the quotes of a key.
        return ConfigError(*self.args).__str__()


class MissingSecret(ConfigError):
    """A key is not there; `variable` is where in the environment it was looked for."""

    def __init__(self, message: str = "", variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class MissingPackage(ConfigError):
    """A package that this takes is not installed; the message names the `pip install`."""


class WeightsUnavailable(ConfigError):
    """Weights that are not here and cannot be fetched; the message says why."""


class WouldDeadlock(ModelwrapError):
    """A blocking call would wait for its own thread, as beside a stream that this thread left open."""


class RealRequestForbidden(ModelwrapError):
    """A request to a provider while a test forbids them."""


class ReplayMismatch(ModelwrapError):
    """A recording that does not fit what the code asks."""


class ModelwrapWarning(UserWarning):
    """Be the category of every warning that modelwrap issues."""


class CallError(ModelwrapError):
    """A call that failed.

    `message` is the provider's own words where there are any, `hint` what can be done about it where that is known,
    `body` what it sent (at most 2 KB, secrets replaced), `partial` the reply as far as it had come, `history` one entry
    for each request that went out, `seconds` how long the call took with all of them.
    """

    retryable: bool = False
    most_retries: int | None = None
    """How often trying again can help at most; None leaves it to the caller's own count."""
    wait: float | None = None
    """How many seconds a config wants to pass before the next try; None leaves it to the policy."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: str | None = None,
        partial: ChatReply | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        retryable: bool | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = clip(body)
        self.partial = partial
        self.model = model
        self.endpoint = endpoint
        self.sent = sent
        self.hint = ""
        self.seconds: float | None = None
        self.history: tuple[Attempt, ...] = ()
        self.changes: tuple[Change, ...] = ()
        if retryable is not None:
            self.retryable = retryable

    @property
    def attempts(self) -> int:
        """How many requests went out for this call."""
        return len(self.history)

    def scrub(self, scrubber: Callable[[str], str]) -> None:
        """Replace secrets that somebody put into the words of this error."""
        self.message = scrubber(self.message)
        self.args = (self.message,)
        self.body = scrubber(self.body) if self.body else self.body
        self.hint = scrubber(self.hint)
        self.code = scrubber(self.code) if self.code else self.code
        self.request_id = scrubber(self.request_id) if self.request_id else self.request_id
        if self.__cause__ is not None and any(scrubber(str(cause)) != str(cause) for cause in chain(self.__cause__)):
            self.__cause__ = self.__context__ = None

    def __str__(self) -> str:
        subject = self.model or self.endpoint or ""
        where = f" ({self.endpoint})" if self.model and self.endpoint else ""
        status = f"HTTP {self.status}: " if self.status is not None else ""
        hint = f" ({_escaped(self.hint)})" if self.hint else ""
        notes = []
        if self.request_id:
            notes.append(f"request id {_escaped(self.request_id)}")
        if self.attempts > 1:
            notes.append(f"{self.attempts} attempts")
        if self.retry_after is not None:
            notes.append(f"retry after {self.retry_after:g} s")
        if self.partial is not None:
            notes.append("what had arrived is in .partial")
        tail = f" [{', '.join(notes)}]" if notes else ""
        return f"{subject}{where}{': ' if subject else ''}{status}{_escaped(self.message)}{hint}{tail}"


class BadRequest(CallError):
    """The request is wrong, here or in the server's eyes."""


class ContextTooLong(BadRequest):
    """The prompt does not fit the model's context."""


class UnsupportedParameter(BadRequest):
    """The model or its server does not take a parameter."""


class ContentFiltered(CallError):
    """A filter refused the prompt, or the whole of the answer."""


class AuthenticationFailed(CallError):
    """The key is wrong, or none was sent (401)."""


class PermissionDenied(CallError):
    """The key is right, and may not do this (403)."""


class NotFound(CallError):
    """There is no such model or path (404, 410)."""


class RateLimited(CallError):
    """Too many requests or tokens at once (429); `retry_after` says when to come back, if the server did."""

    retryable = True


class QuotaExhausted(CallError):
    """The money, or a quota that does not come back by itself, is used up."""


class Overloaded(CallError):
    """The server is too busy, or is loading the model (503, 529)."""

    retryable = True


class ServerFailed(CallError):
    """The server failed (500, 502, 504), or what computes a model in this process."""

    retryable = True


class TimedOut(CallError):
    """A limit of time passed: `limit` is `connect`, `first_token`, `idle`, `total`, or the server's own, `provider`."""

    retryable = True

    def __init__(self, message: str = "", *, limit: str = "total", **known: Any) -> None:
        super().__init__(message, **known)
        self.limit = limit


class ConnectionFailed(CallError):
    """The server cannot be reached, or hung up; `sent` says whether a request may have arrived."""

    retryable = True


class TLSFailed(CallError):
    """The certificate of the server is not trusted, or it speaks no TLS."""


class RedirectRefused(CallError):
    """The server sends elsewhere, where neither a key nor a prompt is to go."""


class CredentialError(CallError):
    """A login gave no token."""


class InvalidResponse(CallError):
    """The answer cannot be read, or is not what was asked for."""


class ResponseTooLarge(InvalidResponse):
    """The answer is larger than any should be."""


class StreamFailed(CallError):
    """An error came in the middle of a stream; `partial` holds what had come."""


class StreamTruncated(StreamFailed):
    """A stream ended without its end; `partial` holds what had come."""


class AllEndpointsFailed(CallError):
    """Carry the error of every endpoint that was tried in `causes`."""

    def __init__(self, message: str = "", *, causes: tuple[CallError, ...] = (), **known: Any) -> None:
        super().__init__(message, **known)
        self.causes = causes


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what led to it, each once: an error may have been raised from itself."""
    given: set[int] = set()
    while error is not None and id(error) not in given:
        given.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def warn(text: str) -> None:
    """Warn at the line that called modelwrap, whichever of our own found the reason."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "modelwrap":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, ModelwrapWarning, stacklevel=level)


def clip(text: str | None) -> str | None:
    """Cut a body to what an error may carry."""
    if text is None or len(text) <= _LONGEST_BODY:
        return text
    return text[:_LONGEST_BODY] + "…"


def _escaped(text: str) -> str:
    """Replace control characters, which a hostile server could use to forge log lines."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in clip(text) or "")
