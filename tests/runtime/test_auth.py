"""Tokens that run out: fetched once for many, in time, and never longer waited for than a call may last."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelwrap.errors import CredentialError
from modelwrap.runtime.auth import Credential, Token
from modelwrap.runtime.base import Deadline, Runtime, run_sync
from modelwrap.runtime.blocking import Blocking
from modelwrap.runtime.concurrent import Concurrent
from modelwrap.secrets import Secret
from tests.colours import Colour


class Login:
    """Give tokens by number, slowly, and fail when told to."""

    def __init__(self, *, lifetime: float = 3600.0, seconds: float = 0.0) -> None:
        self.lifetime = lifetime
        self.seconds = seconds
        self.fetched = 0
        self.fails: BaseException | None = None
        self.done = threading.Event()

    def __call__(self) -> Token:
        time.sleep(self.seconds)
        self.fetched += 1
        try:
            if self.fails is not None:
                raise self.fails
            return Token(Secret(f"token-{self.fetched}"), self.lifetime)
        finally:
            self.done.set()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def ask(credential: Credential, runtime: Runtime, refused: str | None = None, total: float = 5.0) -> str:
    token = await credential.token(
        runtime, Deadline(total, runtime.now), refused=None if refused is None else Secret(refused)
    )
    return token.reveal()


def settled(credential: Credential) -> None:
    """Wait until no fetch is under way."""
    while credential._coming is not None:
        time.sleep(0.001)


def test_a_token_is_fetched_once_and_kept(colour: Colour) -> None:
    login = Login()
    credential = Credential(login)

    tokens = [colour.run(ask(credential, colour.runtime())) for _ in range(3)]

    assert tokens == ["token-1"] * 3
    assert login.fetched == 1


def test_many_that_need_it_at_once_wait_for_the_same_one() -> None:
    login = Login(seconds=0.1)
    credential = Credential(login)

    async def crowd() -> list[str]:
        return await asyncio.gather(*(ask(credential, Concurrent()) for _ in range(50)))

    with ThreadPoolExecutor(51) as pool:
        waiting = [pool.submit(run_sync, ask(credential, Blocking())) for _ in range(50)]
        tokens = pool.submit(asyncio.run, crowd()).result() + [one.result() for one in waiting]

    assert tokens == ["token-1"] * 100
    assert login.fetched == 1


def test_a_token_is_fetched_anew_before_it_runs_out_and_nobody_waits_for_it(colour: Colour) -> None:
    login, clock = Login(), Clock()
    credential = Credential(login, clock=clock)
    first = colour.run(ask(credential, colour.runtime()))

    clock.now += 3600 - 299
    during = colour.run(ask(credential, colour.runtime()))
    settled(credential)
    after = colour.run(ask(credential, colour.runtime()))

    assert (first, during, after) == ("token-1", "token-1", "token-2")
    assert login.fetched == 2


def test_a_short_life_is_used_by_half(colour: Colour) -> None:
    login, clock = Login(lifetime=60.0), Clock()
    credential = Credential(login, clock=clock)
    colour.run(ask(credential, colour.runtime()))

    clock.now += 29
    colour.run(ask(credential, colour.runtime()))
    settled(credential)

    assert login.fetched == 1


def test_a_token_that_is_still_good_survives_a_login_that_fails(colour: Colour) -> None:
    login, clock = Login(), Clock()
    credential = Credential(login, clock=clock)
    colour.run(ask(credential, colour.runtime()))
    login.fails = OSError("down")

    clock.now += 3600 - 200
    during = []
    for _ in range(3):
        during.append(colour.run(ask(credential, colour.runtime())))
        settled(credential)
    clock.now += 201

    assert during == ["token-1"] * 3
    assert login.fetched == 2
    with pytest.raises(CredentialError):
        colour.run(ask(credential, colour.runtime()))


def test_a_token_that_was_refused_is_fetched_anew_by_one_of_many(colour: Colour) -> None:
    login = Login()
    credential = Credential(login)
    colour.run(ask(credential, colour.runtime()))

    first = colour.run(ask(credential, colour.runtime(), refused="token-1"))
    second = colour.run(ask(credential, colour.runtime(), refused="token-1"))

    assert (first, second) == ("token-2", "token-2")
    assert login.fetched == 2


def test_a_login_that_fails_tells_its_name_and_not_its_words(colour: Colour) -> None:
    login = Login()
    login.fails = ValueError("the password is hunter2")

    with pytest.raises(CredentialError, match="ValueError") as caught:
        colour.run(ask(Credential(login), colour.runtime()))

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert (caught.value.retryable, caught.value.sent) == (False, False)


def test_a_login_that_ends_its_thread_stops_no_later_call(colour: Colour) -> None:
    login = Login()
    login.fails = SystemExit(1)
    credential = Credential(login)

    with pytest.raises(CredentialError, match="SystemExit"):
        colour.run(ask(credential, colour.runtime()))
    login.fails = None

    assert colour.run(ask(credential, colour.runtime())) == "token-2"


def test_a_login_may_say_itself_what_is_wrong(colour: Colour) -> None:
    login = Login(seconds=0.02)
    login.fails = CredentialError("run az login")
    credential = Credential(login)

    with pytest.raises(CredentialError, match="run az login") as caught:
        colour.run(ask(credential, colour.runtime()))

    assert caught.value is not login.fails


def test_no_call_waits_for_a_login_past_its_deadline(colour: Colour) -> None:
    login = Login(seconds=0.2)
    credential = Credential(login)
    started = time.monotonic()

    with pytest.raises(CredentialError, match=r"no token came within 0\.0\d+ s"):
        colour.run(ask(credential, colour.runtime(), total=0.05))
    waited = time.monotonic() - started
    later = colour.run(ask(credential, colour.runtime()))

    assert waited < 0.18
    # The one that gave up has not spoiled it for the others.
    assert (later, login.fetched) == ("token-1", 1)


def test_a_cancelled_caller_spoils_nothing() -> None:
    login = Login(seconds=0.1)
    credential = Credential(login)

    async def main() -> str:
        task = asyncio.create_task(ask(credential, Concurrent()))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await ask(credential, Concurrent())

    assert asyncio.run(main()) == "token-1"
    assert login.fetched == 1


def test_a_forked_child_fetches_its_own() -> None:
    login = Login(seconds=0.15)
    credential = Credential(login)
    with pytest.raises(CredentialError):
        run_sync(ask(credential, Blocking(), total=0.01))

    child = os.fork()
    if child == 0:
        os._exit(0 if run_sync(ask(credential, Blocking(), total=2.0)) == "token-1" else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    settled(credential)

    assert code == 0


def test_a_token_for_which_there_was_no_thread_is_fetched_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = Credential(Login())

    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", no_more)
        with pytest.raises(CredentialError, match="no token: can't start new thread"):
            run_sync(ask(credential, Blocking()))

    assert run_sync(ask(credential, Blocking())) == "token-1"
