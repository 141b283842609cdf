"""Swagger UI: the pages of gateway, replica and control plane, from files of this package and their own origin alone.

The files are its authors' (`VENDOR.toml`), but for `start.js`. Nothing on the page is inline, so that its policy may
forbid a browser every script and every connection but those of the same server.
"""

from __future__ import annotations

import html
import mimetypes
from functools import cache
from pathlib import Path

_OWN = Path(__file__).parent
_SERVED = {
    "swagger-ui-bundle.js": _OWN / "files" / "swagger-ui-bundle.js",
    "swagger-ui.css": _OWN / "files" / "swagger-ui.css",
    "favicon-32x32.png": _OWN / "files" / "favicon-32x32.png",
    "start.js": _OWN / "start.js",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="{assets}/swagger-ui.css"><link rel="icon" href="{assets}/favicon-32x32.png">
</head>
<body>
<div id="ui" data-openapi="{description}"></div>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script src="{assets}/start.js"></script>
</body>
</html>
"""
HEADERS = {
    # Swagger UI writes style attributes and has its icons as data: URLs.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""Of every response of this package."""


def page(title: str, *, description: str, assets: str) -> str:
    """The page's HTML. `description` and `assets` are paths of the same server: OpenAPI, and what `asset` gives."""
    return _PAGE.format(title=html.escape(title), description=html.escape(description), assets=html.escape(assets))


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """One of the page's files and its media type; None for any other name."""
    path = _SERVED.get(name)
    if path is None:
        return None
    return path.read_bytes(), mimetypes.guess_type(name)[0] or "application/octet-stream"
