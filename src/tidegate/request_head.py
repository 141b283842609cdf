"""What HTTP/1 asks of a request's head beyond its syntax. Used by the servers of data plane and control plane alike.

A proxy before this server may read such a head differently, and then the two see different requests.
"""

from __future__ import annotations

from collections.abc import Iterable

LENGTH_DIGITS_MAX = 100
"""Of a body's length, leading zeros among them: Python makes no number of thousands of digits."""


def head_fault(http_version: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What is wrong with a head, its header names in lower case; None: nothing."""
    if http_version not in ("1.1", "1.0"):
        return f"HTTP/{http_version} is not spoken in a request line: send HTTP/1.1"
    hosts = codings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            codings += 1
            if value.strip().lower() != b"chunked":
                return f"transfer coding {value[:40].decode('latin-1')!r} is not known here: send 'chunked', or none"
        elif name == b"content-length" and len(value) > LENGTH_DIGITS_MAX:
            return f"the header content-length has {len(value)} characters, and up to {LENGTH_DIGITS_MAX} are taken"
    if hosts > 1 or codings > 1:
        return f"the header {'host' if hosts > 1 else 'transfer-encoding'} is there {max(hosts, codings)} times"
    if hosts == 0 and http_version == "1.1":
        return "the header host is missing, which HTTP/1.1 asks for"
    return None
