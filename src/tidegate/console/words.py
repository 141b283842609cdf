"""How values read on a page: numbers with their units, times in UTC, statuses as words with a tone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from tidegate.clock import now, rfc3339
from tidegate.wire.rest import Endpoint

UNKNOWN = "\N{EN DASH}"
"""Never 0: what is not known is not nothing."""
PREDICTED_CHARS_MAX = 2000
PLACES = {
    "local": "processes on this machine",
    "docker": "containers on this machine",
    "kubernetes": "pods on Kubernetes",
    "ecs": "tasks on AWS ECS",
    "cloudrun": "instances on Google Cloud Run",
}
"""Where replicas run, by engine."""
ENGINES = {"docker": "Docker", "kubernetes": "Kubernetes", "ecs": "AWS ECS", "cloudrun": "Google Cloud Run"}
"""What engines are called by those who make them."""
MIB = 1 << 20
"""What `512m` is counted in, on the command line and by engines."""
_TONES = {
    "ready": "ok",
    "succeeded": "ok",
    "running": "info",
    "deploying": "info",
    "starting": "info",
    "queued": "idle",
    "ending": "idle",
    "degraded": "bad",
    "failed": "bad",
    "down": "bad",
    "unavailable": "bad",
    "firing": "bad",
    "pending": "warn",
    "acknowledged": "info",
    "resolved": "ok",
    "critical": "bad",
    "high": "bad",
    "medium": "warn",
    "low": "info",
    "sent": "ok",
    "dead": "bad",
    "refused": "bad",
}


def tone(status: str) -> str:
    """The class of a status's word: ok, bad, warn, info or idle."""
    return _TONES.get(status, "idle")


def moment(at_s: float | None) -> Markup | str:
    """A time of day, with its day where that is not today. The browser adds the local one."""
    if not at_s:
        return UNKNOWN
    at, today = datetime.fromtimestamp(at_s, UTC), datetime.fromtimestamp(now(), UTC)
    shown = f"{at:%H:%M:%S} UTC" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(at_s), shown)


def sentence(text: str) -> str:
    """With a capital letter first; the rest as it is."""
    return text[:1].upper() + text[1:]


def ago(at_s: float) -> str:
    """`12 s`, `5 min`, `3 h`, `2 days` since then."""
    past_s = max(now() - at_s, 0.0)
    for most_s, one_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if past_s < most_s:
            return f"{past_s / one_s:.0f} {unit}"
    return f"{past_s / 86_400:.0f} days"


def percent(value: float) -> str:
    """`33.3 %`."""
    return f"{value:.10g} %" if value == round(value, 2) else f"{value:.2f} %"


def rate(per_s: float | None) -> str:
    """Requests a second; small rates keep their digits."""
    if per_s is None:
        return UNKNOWN
    if per_s == 0 or per_s >= 10:
        return f"{per_s:,.0f}/s"
    return f"{per_s:.1f}/s" if per_s >= 0.1 else f"{per_s * 60:.1f}/min"


def amount(value: float) -> str:
    """Three digits, and 0 for what is next to nothing.

    >>> [amount(value) for value in (0.000032, 0.0312, 12.345, 1234.0)]
    ['0', '0.0312', '12.3', '1,234']
    """
    return f"{value:,.0f}" if value >= 100 or value < 0.001 else f"{value:.3g}"


def share(part: float | None, whole: float | None) -> str:
    """Part of the whole in percent; unknown where there is no whole."""
    return f"{100 * part / whole:.2f} %" if part is not None and whole else UNKNOWN


def duration(seconds: float | None) -> str:
    """`3.1 ms`, `2.50 s`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s"


def size(size_bytes: int) -> str:
    """`1.2 MB`."""
    value = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def mib(size_bytes: int) -> str:
    """As forms and the command line count memory.

    >>> [mib(size) for size in (512 << 20, 512_500_000, 1 << 40)]
    ['512 MiB', '488.758 MiB', '1048576 MiB']
    """
    return f"{round(size_bytes / MIB, 3):.12g} MiB"


def engine(backend: str) -> str:
    """As those who make it call it."""
    return ENGINES.get(backend, backend)


def placed(endpoint: Endpoint) -> str:
    """`pods on Kubernetes, each with at most 2 CPU, 512 MiB`: where replicas run, and the amounts that were given."""
    most = _amounts(endpoint.cpus, endpoint.memory_bytes)
    kept = _amounts(endpoint.cpu_request, endpoint.memory_request_bytes)
    limits = (most and f"at most {most}", kept and f"{kept} kept free")
    each = " and ".join(part for part in limits if part)
    return PLACES.get(endpoint.backend, endpoint.backend) + (f", each with {each}" if each else "")


def _amounts(cpus: float | None, memory_bytes: int | None) -> str:
    """`2 CPU, 512 MiB`; empty where neither is known."""
    parts = (f"{cpus:g} CPU" if cpus else "", mib(memory_bytes) if memory_bytes else "")
    return ", ".join(part for part in parts if part)


def split(traffic: Mapping[str, float]) -> str:
    """`v1 90 % · v2 10 %`, the largest share first."""
    routed = sorted(((v, w) for v, w in traffic.items() if w), key=lambda item: (-item[1], in_order(item[0])))
    return " · ".join(f"v{version} {percent(weight)}" for version, weight in routed) or "no traffic"


def arms(shares: Mapping[str, float]) -> str:
    """`baseline 50 % · canary 50 %`, of variants by name."""
    return " · ".join(f"{name} {percent(share)}" for name, share in shares.items())


def in_order(version: str) -> tuple[int, str]:
    """Versions as numbers, whatever else there is after them."""
    return (int(version), "") if version.isdecimal() else (1 << 62, version)


def predicted(rows: Sequence[Any]) -> str:
    """What a model said: of one row the value alone, a text as it is, anything else as JSON; cut where it is long."""
    value = rows[0] if len(rows) == 1 else list(rows)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    more = len(text) - PREDICTED_CHARS_MAX
    return text if more <= 0 else f"{text[:PREDICTED_CHARS_MAX]} … and {more:,} characters more"


def shell_word(text: str) -> str:
    """As a shell takes it."""
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text, re.ASCII) else "'" + text.replace("'", "'\"'\"'") + "'"
