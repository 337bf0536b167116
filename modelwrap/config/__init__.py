"""Configs: JSON with comments, `${VARIABLES}`, and errors that say file, line and what was meant."""

from modelwrap.config.credentials import Arguments, Headers, SecretString, is_placeholder, key_from, mistakes
from modelwrap.config.fields import ClientArgs, ConfigPart, Count, Limits, ModelConfig, Query, Seconds, Verify
from modelwrap.config.problems import Problems
from modelwrap.config.sources import Entry, read
from modelwrap.config.transport import check_transport, check_verify
from modelwrap.config.validation import Validated, config_class_of, validate

__all__ = [
    "Arguments",
    "ClientArgs",
    "ConfigPart",
    "Count",
    "Entry",
    "Headers",
    "Limits",
    "ModelConfig",
    "Problems",
    "Query",
    "Seconds",
    "SecretString",
    "Validated",
    "Verify",
    "check_transport",
    "check_verify",
    "config_class_of",
    "is_placeholder",
    "key_from",
    "mistakes",
    "read",
    "validate",
]
