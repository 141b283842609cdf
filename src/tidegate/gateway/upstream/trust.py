"""TLS from gateway to replica: whom to trust, and in words why somebody was not. Used by `dial.py`."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

CONTEXTS_KEPT = 32


class Unusable(Exception):
    """This target cannot be spoken to until somebody changes something; says what."""


def client_context(ca_file: str) -> ssl.SSLContext:
    """Checks certificate and host name by the authorities in this file, or by those that the system trusts.

    Reads files. The file is read again once it has changed. Raises `Unusable`.
    """
    try:
        stamp = Path(ca_file).stat().st_mtime_ns if ca_file else 0
        return _context(ca_file, stamp)
    except ssl.SSLError:  # an OSError too
        raise Unusable(f"the CA file {ca_file} has no certificate in it") from None
    except OSError as error:
        raise Unusable(f"the CA file {ca_file} cannot be read: {error.strerror}") from None


def why_untrusted(error: ssl.SSLError, host: str) -> Unusable:
    """What was wrong, by a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unusable(f"the certificate that {host} shows is not trusted: {error.verify_message}")
    return Unusable(f"{host} does not speak TLS as it should: {error.reason or error}")


@lru_cache(CONTEXTS_KEPT)
def _context(ca_file: str, stamp: int) -> ssl.SSLContext:  # noqa: ARG001 (another stamp is another content)
    return ssl.create_default_context(cafile=ca_file or None)
