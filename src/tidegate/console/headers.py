"""Headers of the console's answers: what a browser may load, run, keep and tell."""

from __future__ import annotations

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: browsers then say "null" for the origin of a form, which is another site's.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Of every answer."""
PAGE_HEADERS = {**HEADERS, "cache-control": "no-store", "vary": "accept-encoding"}
FILE_HEADERS = {**HEADERS, "cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
STREAM_HEADERS = {
    **HEADERS,
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # proxies pass it on as it comes
}
