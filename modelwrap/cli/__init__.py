"""The command line program: chat, check, download, explain, migrate, models, schema."""

from modelwrap.cli.exits import CALL_FAILED, CONFIG_WRONG, INTERRUPTED, NOT_WRITTEN, OK, READER_GONE, TRY_AGAIN, USAGE
from modelwrap.cli.program import main

__all__ = [
    "CALL_FAILED",
    "CONFIG_WRONG",
    "INTERRUPTED",
    "NOT_WRITTEN",
    "OK",
    "READER_GONE",
    "TRY_AGAIN",
    "USAGE",
    "main",
]
