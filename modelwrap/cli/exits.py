"""What the program's exit codes mean."""

from __future__ import annotations

from modelwrap.errors import CallError, ModelwrapError

OK = 0
CONFIG_WRONG = 1
USAGE = 2
CALL_FAILED = 3
TRY_AGAIN = 4
NOT_WRITTEN = 5
INTERRUPTED = 130
READER_GONE = 141

MEANINGS = {
    OK: "done",
    CONFIG_WRONG: "the config is wrong, or names no such model",
    USAGE: "the command line is wrong",
    CALL_FAILED: "the call failed, and would again",
    TRY_AGAIN: "the call failed for a reason that may pass: rate limit, overload, time-out, connection",
    NOT_WRITTEN: "the output cannot be written",
    INTERRUPTED: "stopped by Ctrl-C",
    READER_GONE: "the program that read the output went away",
}


class UsageError(Exception):
    """Say what is wrong with a command line that argparse let through."""


def code_of(error: UsageError | ModelwrapError) -> int:
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, CallError):
        return TRY_AGAIN if error.retryable else CALL_FAILED
    return CONFIG_WRONG
