"""Credentials that run out: fetched where they are needed, shared by all calls, and fetched anew in time."""

from __future__ import annotations

import copy
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from modelwrap.errors import CredentialError, TimedOut
from modelwrap.runtime.base import Deadline, Runtime
from modelwrap.runtime.lock import Lock
from modelwrap.secrets import Secret

# How long before a token runs out it is fetched anew, in seconds; never more than half of its life.
_EARLY = 300.0

# How long a token that is still good is used after a fetch has failed, before the next is tried.
_PAUSE = 30.0


# How many tokens are remembered, to be hidden.
_MOST_KNOWN = 8

# How long a call waits for a token at most, however much time it has.
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Token:
    """Be what a login gives: the token, and for how many seconds it is good from now on."""

    value: Secret
    lifetime: float


class Credential:
    """Hold the token that `fetch` gets, for all threads and loops at once.

    `fetch` may block, and runs in a thread of its own: no call waits for it past its deadline, and calls that need a
    token at the same time wait for the same one. A `CredentialError` that it raises reaches them; of any other error
    only the name does, for its words may hold what the login is done with.
    """

    def __init__(self, fetch: Callable[[], Token], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = Lock()
        self._token: Secret | None = None
        self._given: deque[Secret] = deque(maxlen=_MOST_KNOWN)
        self._good_until = 0.0
        self._fetch_from = 0.0
        self._coming: tuple[int, Future[Secret]] | None = None

    @property
    def known(self) -> tuple[Secret, ...]:
        """The last tokens, which a server may still repeat in what it says."""
        return tuple(self._given)

    async def token(self, runtime: Runtime, deadline: Deadline, *, refused: Secret | None = None) -> Secret:
        """Give a token that is good; `refused` is one that a server did not take, however long it was to live."""
        with self._lock:
            now = self._clock()
            good = self._token if self._token != refused and now < self._good_until else None
            if good is not None and now < self._fetch_from:
                return good
            coming = self._begun()
        if good is not None:
            return good
        within = min(max(deadline.remaining(), 0.0), _LONGEST_WAIT)
        try:
            return await runtime.wait(coming, Deadline(within, runtime.now))
        except CredentialError as error:
            # Each call fills in its own.
            raise copy.copy(error) from None
        except TimedOut:
            raise CredentialError(f"no token came within {within:.3g} s", sent=False) from None

    def _begun(self) -> Future[Secret]:
        """Give the fetch that is under way; a forked child has not the thread that its parent had."""
        if self._coming is None or self._coming[0] != os.getpid():
            coming: Future[Secret] = Future()
            # Many wait for it, and none of them may cancel it.
            coming.set_running_or_notify_cancel()
            try:
                threading.Thread(target=self._work, args=(coming,), name="modelwrap-credential", daemon=True).start()
            except RuntimeError as error:
                raise CredentialError(f"no token: {error}", sent=False) from None
            self._coming = os.getpid(), coming
        return self._coming[1]

    def _work(self, coming: Future[Secret]) -> None:
        try:
            token = self._fetch()
            good_until = self._clock() + token.lifetime
            fetch_from = good_until - min(_EARLY, token.lifetime / 2)
        except (
            BaseException
        ) as error:  # whatever ends a login, also sys.exit(), the calls that need it have failed by it
            with self._lock:
                self._fetch_from = self._clock() + _PAUSE
                self._coming = None
            told = isinstance(error, CredentialError)
            coming.set_exception(error if told else CredentialError(f"no token: {type(error).__name__}", sent=False))
        else:
            with self._lock:
                self._token = token.value
                self._given.append(token.value)
                self._good_until = good_until
                self._fetch_from = fetch_from
                self._coming = None
            coming.set_result(token.value)
