"""Whose certificates are trusted, and what is told when they are not."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path

import httpx2

from modelwrap.errors import ConfigError, TLSFailed

# What OpenSSL says when the first bytes of the other end are none of TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


def context_for(verify: bool | str) -> ssl.SSLContext:
    """Give the settings for TLS that a connection's `verify` asks for."""
    if verify is True:
        return _trusting_the_system()
    context = _trusting(verify) if verify else httpx2.create_ssl_context(verify=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


@functools.cache
def unused() -> ssl.SSLContext:
    """Stand where a client wants a context and will not use it: cheaper than reading the system's certificates."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@functools.cache
def _trusting_the_system() -> ssl.SSLContext:
    context = httpx2.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _trusting(path: str) -> ssl.SSLContext:
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigError(f"verify: {path} holds no certificates: {error.strerror or error}") from error


def failure(error: ssl.SSLError, *, sent: bool = False) -> TLSFailed:
    """Say what went wrong with TLS."""
    if error.reason in _NO_TLS:
        return TLSFailed(f"the other end does not speak TLS; is it http://? ({error.reason})", sent=sent)
    reason = getattr(error, "verify_message", "") or error.reason or str(error)
    return TLSFailed(f"the connection is not secure: {reason}", sent=sent)


def broken_off() -> TLSFailed:
    """Say that the other end hung up over TLS, as one does that has no version of it in common."""
    return TLSFailed("the other end hung up before TLS was agreed on", sent=False)
