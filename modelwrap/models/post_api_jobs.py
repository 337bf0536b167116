"""Services that take a job: it is submitted, asked for until it is done, and its result fetched."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias
from urllib.parse import quote

from pydantic import Field

from modelwrap.config import ConfigPart, Seconds
from modelwrap.errors import CallError, ConfigError, InvalidResponse
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.types import JSON
from modelwrap.wire import body as bodies
from modelwrap.wire import failures
from modelwrap.wire.http import Endpoint, HttpRequest
from modelwrap.wire.places import Place, at, place_of, written
from modelwrap.wire.urls import normalised_url, origin

_MOST_FAILED_POLLS = 5
_PLACE_IN_URL = re.compile(r"\{([^{}]+)\}")
_DONE = ("succeeded", "success", "completed", "complete", "done", "finished", "ready", "true")
_FAILED = (
    *("failed", "failure", "error", "canceled", "cancelled", "aborted", "rejected", "expired", "timeout", "timed_out"),
    *("unknown", "content moderated", "request moderated", "task not found"),
)

Send: TypeAlias = Callable[[HttpRequest], Awaitable[tuple[bytes, Mapping[str, str]]]]
"""Send a request, and give the body and the headers of its answer; a refusal is raised."""


class JobConfig(ConfigPart):
    url: str = Field(
        min_length=1,
        description="Where the job is asked for, with places of the answer to the submission in it: "
        "`https://host/jobs/{data.id}`, or `{urls.get}` where the answer holds the whole URL.",
    )
    status_path: str = Field(default="status", description="Where the answer says how far the job is.")
    done: list[str] = Field(default=list(_DONE), description="What it says when there is a result, in any case.")
    failed: list[str] = Field(default=list(_FAILED), description="What it says when there will be none.")
    interval: Seconds = Field(default=1.0, description="Seconds between two questions.")
    result_url: str | None = Field(
        default=None,
        min_length=1,
        description="Where the result is fetched, with places of the last answer in it; that answer, if not given.",
    )

    def job(self, api_url: str) -> Job:
        try:
            status = place_of(self.status_path)
        except ValueError as error:
            raise ConfigError(f"poll.status_path: {error}") from None
        whole = _checked(self.url, "poll.url")
        if whole is not None and origin(whole) != origin(api_url):
            raise ConfigError("poll.url: must be at the host of api_url, for the headers with the key go there too")
        if self.result_url is not None:
            _checked(self.result_url, "poll.result_url")
        done, failed = (frozenset(word.lower() for word in words) for words in (self.done, self.failed))
        return Job(self.url, status, done, failed, self.interval, self.result_url)


def _checked(template: str, where: str) -> str | None:
    """Check a URL with places in it, and give it without them; None where an answer gives it as a whole."""
    try:
        bare = _PLACE_IN_URL.sub(lambda found: quote(".".join(map(str, place_of(found[1])))), template)
        if "{" in bare or "}" in bare:
            raise ValueError("a brace stands alone; places are written as in {data.id}")
        return None if template.startswith("{") else normalised_url(bare)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


@dataclass(frozen=True, slots=True)
class Job:
    url: str
    status: Place
    done: frozenset[str]
    failed: frozenset[str]
    interval: float
    result_url: str | None


async def finished(
    job: Job,
    endpoint: Endpoint,
    submission: HttpRequest,
    send: Send,
    deadline: Deadline,
    runtime: Runtime,
    holds_answer: Callable[[JSON], bool],
) -> tuple[bytes, Mapping[str, str]]:
    """Submit a job, wait until it is done, and give the body and headers of its result."""
    body, headers = await send(submission)
    answer = bodies.loads(body)
    with submitted_once():
        question = _next_question(job, answer, endpoint, holds_answer)
        if question is not None:
            body, headers, answer = await _asked(job, question, answer, send, deadline, runtime)
            if at(answer, job.status) is None and job.result_url is None and not _tells(answer, holds_answer):
                raise InvalidResponse(
                    f"poll.status_path: nothing stands at {written(job.status)}, and no answer is where services put "
                    "it; status_path says where the status is, answer_path where the answer",
                    body=bodies.text_of(body),
                )
        if job.result_url is None:
            return body, headers
        return await send(_to_get(job.result_url, answer, endpoint))


@contextmanager
def submitted_once() -> Iterator[None]:
    """Let no job be submitted again whatever becomes of it: it would be done, and paid for, once more."""
    try:
        yield
    except CallError as error:
        error.retryable = False
        raise


async def _asked(
    job: Job, question: HttpRequest, answer: JSON, send: Send, deadline: Deadline, runtime: Runtime
) -> tuple[bytes, Mapping[str, str], JSON]:
    """Ask for a job until it is done, and give the last answer, also read."""
    failures_in_a_row = 0
    wait = job.interval
    while True:
        await runtime.sleep(max(min(wait, deadline.remaining()), 0.0))
        try:
            deadline.check()
            body, headers = await send(question)
            answer, failures_in_a_row, wait = bodies.loads(body), 0, job.interval
        except CallError as error:
            failures_in_a_row += 1
            wait = max(job.interval, error.retry_after or 0.0)
            if deadline.remaining() <= 0:
                error.message += f" (the job said {at(answer, job.status)!r:.40} last)"
            if not error.retryable or failures_in_a_row > _MOST_FAILED_POLLS or wait > deadline.remaining():
                raise
        else:
            if _is_done(answer, job):
                return body, headers, answer


def _next_question(
    job: Job, submitted: JSON, endpoint: Endpoint, holds_answer: Callable[[JSON], bool]
) -> HttpRequest | None:
    """Tell how a job is asked for; None where what came for its submission is the result."""
    if at(submitted, job.status) is not None:
        return None if _is_done(submitted, job) else _question(job, submitted, endpoint)
    if _tells(submitted, holds_answer):
        return None
    try:
        return _to_get(job.url, submitted, endpoint)
    except InvalidResponse:
        return None


def _tells(answer: JSON, holds_answer: Callable[[JSON], bool]) -> bool:
    """Tell whether JSON without a status is the result, or an error in its place."""
    return holds_answer(answer) or (isinstance(answer, dict) and failures.names_error(answer))


def _question(job: Job, answer: JSON, endpoint: Endpoint) -> HttpRequest:
    try:
        return _to_get(job.url, answer, endpoint)
    except InvalidResponse:
        if isinstance(answer, dict) and failures.says_error(answer):
            raise failures.refused(failures.read(answer), 200) from None
        raise


def _is_done(answer: JSON, job: Job) -> bool:
    """Tell whether there is a result; an answer without a status is one."""
    status = at(answer, job.status)
    word = str(status).lower()
    if word in job.failed:
        raise _failed(answer, job)
    return status is None or word in job.done


def _failed(answer: JSON, job: Job) -> CallError:
    """Say why a job failed, in the service's words: they stand at the top, or beside the status."""
    beside = at(answer, job.status[:-1])
    refusal = next(filter(lambda refusal: refusal.message, map(failures.read, (answer, beside))), None)
    error = failures.refused(refusal or failures.Refusal(f"the job is {at(answer, job.status)}"), 200)
    error.retryable = False
    return error


def _to_get(template: str, answer: JSON, endpoint: Endpoint) -> HttpRequest:
    """Ask for what a job made; the headers with the key go to the service's own host only."""
    url = _filled(template, answer)
    own = origin(url) == origin(endpoint.base_url)
    connection = endpoint.connection if own else replace(endpoint.connection, public_only=True, verify=True)
    sent = {name: value for name, value in endpoint.headers.items() if own and name.lower() != "content-type"}
    return HttpRequest("GET", url, {"accept": "application/json", **sent}, connection=connection)


def _filled(template: str, answer: JSON) -> str:
    """Put places of an answer into a URL."""

    def value(found: re.Match[str]) -> str:
        text = at(answer, place_of(found[1]))
        if not isinstance(text, (str, int)) or isinstance(text, bool) or text == "":
            raise InvalidResponse(f"poll: the answer has nothing at {found[1]}")
        return str(text) if found[0] == template else quote(str(text), safe="")

    try:
        return normalised_url(_PLACE_IN_URL.sub(value, template))
    except ValueError as error:
        raise InvalidResponse(f"poll: the answer makes no URL: {error}") from None
