"""What the control plane serves on its one port: the API, and beside it the console, which calls the API in process."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from tidegate.api.app import create_app
from tidegate.api.console_guard import ConsoleGuard, GuardedConsole
from tidegate.api.guard import allowed_hosts
from tidegate.client.transport.in_process import InProcess
from tidegate.console import app as consoles
from tidegate.console.app import Console
from tidegate.console.asking import ConsolePlatform
from tidegate.wiring import Container

STREAMS_MAX, STREAMS_SHARE = 64, 4
"""Pages that are kept fresh at a time: so many, and no more than one connection in so many."""
_OF_THE_API = ("/api/", "/internal/")
_ALSO = frozenset({"/api", "/health", "/metrics"})


class Site:
    """The ASGI application. Its end is `close_pages`, then the server's end, then `close`."""

    def __init__(self, container: Container, connections_max: int) -> None:
        self._api = create_app(container)
        self._in_process = InProcess(self._api)
        self._console = Console(
            ConsolePlatform(
                self._in_process,
                container.gateway_url,
                container.keys.predict,
                container.settings.upload_bytes_max,
            ),
            min(STREAMS_MAX, max(connections_max // STREAMS_SHARE, 1)),
        )
        hosts = allowed_hosts(container.host, container.settings.allowed_hosts)
        guarded = GuardedConsole(
            self._console, consoles.is_open, consoles.is_stream, consoles.sends_files, consoles.REFUSED
        )
        self._console_guard = ConsoleGuard(guarded, self._api.state.keys, hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_for_the_api(scope):
            await self._api(scope, receive, send)
        else:
            await self._console_guard(scope, receive, send)

    def close_pages(self) -> None:
        """End the streams of open pages, which the server would wait for. From any thread."""
        self._console.close()

    def close(self) -> None:
        """Once nothing is served any more."""
        self._in_process.close()


def _is_for_the_api(scope: Scope) -> bool:
    """Its paths; and the login of programs, which take a cookie and a redirect where browsers get a page."""
    path: str = scope["path"]
    if path == consoles.LOGIN_PATH:
        return not consoles.takes_html(scope)
    return path.startswith(_OF_THE_API) or path in _ALSO
