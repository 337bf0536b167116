"""Ask from many threads and from forked processes in a process of its own, and tell what went wrong."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable

from tests.faults.columns import Settings, column_at

THREADS, CALLS = 32, 6
FORKS, CALLS_OF_FORK = 6, 8


def wrong(ask: Callable[[str], str | None], who: str, calls: int) -> list[str]:
    found = []
    for number in range(calls):
        prompt = f"{who} asks {number}"
        try:
            answer = ask(prompt)
        except Exception as error:  # whatever comes is a call that did not work
            found.append(f"{who.split()[0]}: {type(error).__name__}")
            continue
        if answer != prompt:
            found.append(f"{who.split()[0]}: another's answer")
    return found


def in_threads(ask: Callable[[str], str | None]) -> list[str]:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: found.extend(wrong(ask, f"thread {number}", CALLS)))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def in_forks(ask: Callable[[str], str | None]) -> list[str]:
    ask("before the forks")
    children = []
    for number in range(FORKS):
        child = os.fork()
        if child == 0:
            # The status is all that a child has to say.
            os._exit(min(len(wrong(ask, f"fork {number}", CALLS_OF_FORK)), 100))
        children.append(child)
    parent = wrong(ask, "parent 0", CALLS_OF_FORK)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return parent + [f"fork: {code} calls failed" for code in failed if code]


def main() -> None:
    column, url = column_at(sys.argv[1]), sys.argv[2]
    ask = column.plain(Settings(url, total=10.0, connect=2.0, first_token=5.0))
    found = in_forks(ask) + in_threads(ask) + in_forks(ask)
    print(json.dumps([f"{count} x {words}" for words, count in Counter(found).items()]))


if __name__ == "__main__":
    main()
