"""Sends one message by Apprise: a job as JSON on standard input, what came of it as JSON on standard output.

Run by `apprise.py`, never imported by the platform. Apprise's services open connections of their own, follow redirects,
and some read files or start programs. An audit hook (PEP 578), which nothing in the process can take off again, sees
each of these before it happens: connections are made to the addresses alone that `Reach` allows, whatever name or
redirect leads there; files are read where Python is installed alone; no program is started and no library loaded.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import resource
import ssl
import sys
import threading
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import unquote

from tidegate.adapters.notifiers.reach import Reach, read_networks

MEMORY_BYTES_MAX = 2 << 30
"""Of addresses: what a server answers is held whole."""
REASON_CHARS_MAX = 300
_READABLE = ("/usr/share/zoneinfo", "/usr/share/mime", "/etc/mime.types", "/dev/urandom", "/dev/null")
_SAYING = threading.Lock()
_NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "sqlite3.connect")
_SYSLOG = ("syslog.openlog", "syslog.syslog")


class AuditGuard:
    """An audit hook. `denied` has a sentence for each thing that was refused."""

    def __init__(self, reach: Reach, readable: tuple[str, ...]) -> None:
        self.denied: list[str] = []
        self._reach, self._readable = reach, readable
        self._judges: dict[str, Callable[..., str | None]] = {
            "socket.connect": self._address,
            "socket.sendto": self._address,
            "socket.sendmsg": self._address,
            "open": self._file,
            "ctypes.dlopen": lambda name: None if name is None else f"{name} is a library that is not loaded",
            **dict.fromkeys(_SYSLOG, lambda *_given: "nothing is written to the log of this machine's system"),
            **dict.fromkeys(_NEVER, lambda *_given: "programs are not started"),
        }

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        """Raises `PermissionError`, which services take for a network's failure."""
        judge = self._judges.get(event)
        why = judge(*given) if judge is not None else None
        if why is not None:
            self.denied.append(why)
            raise PermissionError(why)

    def _address(self, _socket: Any, address: Any) -> str | None:
        if address is None:  # of a socket that is connected
            return None
        if not isinstance(address, tuple):
            return f"{address!r} is a socket of this machine, which Apprise is not allowed"
        host = str(address[0]).partition("%")[0]
        try:
            allowed = self._reach.allows(ipaddress.ip_address(host))
        except ValueError:
            return f"{host}: Apprise's service connects by name, so that the address cannot be judged; use another"
        return None if allowed else f"{host} is an internal address: list its network in TIDEGATE_NOTIFY_NETWORKS"

    def _file(self, path: Any, mode: Any, flags: int) -> str | None:
        if isinstance(path, int):
            return None
        wanted = os.path.realpath(os.fsdecode(path))
        writes = any(letter in str(mode or "") for letter in "wax+") or bool(flags & (os.O_WRONLY | os.O_RDWR))
        if any(wanted == one or wanted.startswith(one + os.sep) for one in self._readable):
            return f"{wanted} is not written by Apprise" if writes and wanted != os.devnull else None
        return f"{wanted} is a file that Apprise is not allowed: say in the URL itself what the service needs"


def readable() -> tuple[str, ...]:
    """Where Python and its packages, certificates and time zones are."""
    trusted = ssl.get_default_verify_paths()
    places = [*filter(None, sys.path), sys.prefix, sys.base_prefix, sys.exec_prefix, *_READABLE]
    places += filter(None, (trusted.cafile, trusted.capath, trusted.openssl_cafile, trusted.openssl_capath))
    places += filter(None, map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")))
    here = os.path.realpath(os.curdir)
    return tuple({found for one in places if (found := os.path.realpath(one)) not in (here, os.sep)})


def main() -> None:
    """Send, or only look whether Apprise knows the URL where there is no message."""
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a service prints is no answer
    job = json.load(sys.stdin)
    import apprise  # as late as this: the hook is for what it does, not for being imported

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    guard = AuditGuard(Reach(read_networks(",".join(job["networks"]))), readable())
    sys.addaudithook(guard)
    timer = threading.Timer(job["deadline_s"], _late, (answer_to, job["deadline_s"]))
    timer.daemon = True
    timer.start()
    answer = _sent(apprise, guard, job)
    _say(answer_to, answer)


def _sent(apprise: Any, guard: AuditGuard, job: dict[str, Any]) -> dict[str, str]:
    asset = apprise.AppriseAsset(app_id="Tidegate", app_desc="Tidegate", app_url="", secure_logging=True)
    with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as log:
        sender = apprise.Apprise(asset=asset)
        known = sender.add(job["url"])
        if not known or len(sender) != 1:
            several = "a notifier has one of Apprise's URLs: make one for each"
            unknown = "Apprise does not take this URL: each service's form is in its documentation"
            return {"refused": several if len(sender) > 1 else guard.denied[-1] if guard.denied else unknown}
        if job["message"] is None:
            return {}
        message = job["message"]
        if sender.notify(body=message["body"], title=message["title"], notify_type=message["kind"]):
            return {}
        said = log.getvalue().split("\n")[:-1]
    if guard.denied:
        return {"refused": guard.denied[-1]}
    return {"failed": f"Apprise did not send it: {_without_secrets(said, job['url']) or 'it does not say why'}"}


def _without_secrets(said: list[str], url: str) -> str:
    """The last line, without parts of the URL: of many services all of it is secret."""
    line = said[-1] if said else ""
    for part in filter(lambda part: len(part) >= 4, re.split(r"[/:@?&=,]+", unquote(url.partition("://")[2]))):
        line = line.replace(part, "…")
    return line[:REASON_CHARS_MAX]


def _late(answer_to: IO[str], deadline_s: float) -> None:
    _say(answer_to, {"failed": f"no answer within {deadline_s:g} s"})


def _say(answer_to: IO[str], answer: dict[str, str]) -> None:
    """Once: the process ends with it, whatever its threads do."""
    with _SAYING:
        answer_to.write(json.dumps(answer))
        answer_to.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
