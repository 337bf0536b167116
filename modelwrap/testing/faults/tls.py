"""Certificates for servers that are trusted, and for servers that must not be."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelwrap.errors import MissingPackage

if TYPE_CHECKING:
    import trustme


class Certificates:
    """Be an authority that signs the certificates of one server."""

    def __init__(self, host: str) -> None:
        try:
            import trustme
        except ImportError:
            raise MissingPackage("faults of TLS need a package of their own: pip install trustme") from None
        self._host = host
        self._known = trustme.CA()
        self._unknown = trustme.CA()
        self._folder = TemporaryDirectory(prefix="modelwrap-faults-")
        path = Path(self._folder.name, "authority.pem")
        self._known.cert_pem.write_to_path(path)
        self.authority = str(path)
        """The file for a client to trust."""

    def context(self, kind: str) -> ssl.SSLContext:
        """Give what a server shows that is `trusted`, `self-signed`, `wrong-host` or `expired`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate(kind).configure_cert(context)
        return context

    def _certificate(self, kind: str) -> trustme.LeafCert:
        if kind == "self-signed":
            return self._unknown.issue_cert(self._host)
        if kind == "wrong-host":
            return self._known.issue_cert("elsewhere.test")
        if kind == "expired":
            past = datetime.now(UTC) - timedelta(days=2)
            return self._known.issue_cert(self._host, not_before=past, not_after=past + timedelta(days=1))
        return self._known.issue_cert(self._host)

    def close(self) -> None:
        self._folder.cleanup()
