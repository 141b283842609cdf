"""The form that deploys a version: what was filled in, what that changes, and the same as a command. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.client.resources.options import ScaleOptions
from tidegate.console import words
from tidegate.console.deciding.rolling import EVERY, STEPS, CanaryForm
from tidegate.console.scaling import COUNTED_BY as COUNTERS
from tidegate.console.watching.spans import span_s
from tidegate.errors import InvalidArgument
from tidegate.wire.numbers import finite, finite_number
from tidegate.wire.rest import Endpoint, Version

ENGINES = (("", "as it is, else as the platform"), *words.PLACES.items())
METRICS = (("concurrency", "requests in progress"), ("rps", "requests a second"), ("cpu", "% of its CPU"))
COUNTED_BY = (("", "as it is, else the platform"), *COUNTERS.items())
"""Who may count the replicas, in words."""


@dataclass(frozen=True)
class DeployForm:
    """Fields as they were filled in; an empty one leaves things as they are."""

    endpoint: str = ""
    replicas: str = ""
    backend: str = ""
    cpus: str = ""
    memory_mib: str = ""
    cpu_request: str = ""
    memory_request_mib: str = ""
    least: str = ""
    most: str = ""
    metric: str = ""
    amount: str = ""
    idle: str = ""
    autoscaler: str = ""
    canary: str = ""
    steps: str = STEPS
    every: str = EVERY

    @property
    def follows(self) -> bool:
        """Whether bounds were filled in, rather than a number of replicas."""
        return any(text.strip() for text in (self.least, self.most, self.amount, self.idle, self.autoscaler))

    @property
    def placed(self) -> bool:
        """Whether an engine or amounts for it were filled in."""
        amounts = (self.cpus, self.memory_mib, self.cpu_request, self.memory_request_mib)
        return any(text.strip() for text in (self.backend, *amounts))

    def bounds(self) -> ScaleOptions | None:
        """As the client's `scale` takes them; None: the number of replicas is nobody's but the person's."""
        if not self.follows:
            return None
        if self.replicas.strip():
            raise InvalidArgument("replicas are a number, or follow the load within bounds: not both", field="replicas")
        least, most = _whole(self.least, "replicas"), _whole(self.most, "replicas")
        if least is not None and most is not None and least > most:
            raise InvalidArgument(f"at least {least} replicas and at most {most}: no number is both", field="min")
        amount = _number(self.amount, "target")
        target = None if amount is None else f"{self.metric or METRICS[0][0]}={amount:g}"
        idle_s = span_s(self.idle, "asleep after") if self.idle.strip() else None
        by = self.autoscaler or None
        return {"min": least, "max": most, "target": target, "idle_s": idle_s, "autoscaler": by, "wait": False}

    def as_canary(self) -> CanaryForm | None:
        """As a canary, where that was ticked: with what the endpoint has, for as long as it goes. None: at once.

        Raises `InvalidArgument` where something else was filled in that a canary leaves alone.
        """
        if self.canary != "yes":
            return None
        if self.follows or self.placed or self.replicas.strip():
            raise InvalidArgument(
                "a canary runs as the endpoint does: leave replicas, engine and limits empty, or do not tick it",
                field="canary",
            )
        return CanaryForm(steps=self.steps, every=self.every)

    def asked(self) -> dict[str, Any]:
        """As the client's `deploy` takes it. Raises `InvalidArgument` for what is no number."""
        return {
            "endpoint": self.endpoint.strip() or None,
            "replicas": _whole(self.replicas, "replicas"),
            "backend": self.backend or None,
            "cpus": _number(self.cpus, "CPUs"),
            "memory_bytes": _mib(self.memory_mib, "memory"),
            "cpu_request": _number(self.cpu_request, "CPUs kept free"),
            "memory_request_bytes": _mib(self.memory_request_mib, "memory kept free"),
        }


def filled(form: Mapping[str, str]) -> DeployForm:
    """What came of the page."""
    usual = DeployForm()
    return DeployForm(*(form.get(name, getattr(usual, name)) for name in DeployForm.__dataclass_fields__))


def differences(
    version: Version, live: Version | None, there: Endpoint | None, form: DeployForm
) -> list[tuple[str, str, str]]:
    """(what, as it runs now, as it will be) of what deploying changes; empty for a new endpoint."""
    if there is None:
        return []
    before, after = _shown(live), _shown(version)
    found = [(name, before[name], after[name]) for name in after if before[name] != after[name]]
    if live is not None and live.signature != version.signature:
        found.append(("Signature", "as clients use it", "another: if they would notice, you are asked first"))
    limits = (
        ("Replicas", form.replicas, _replicas(there)),
        ("Engine", words.PLACES.get(form.backend, form.backend), words.PLACES.get(there.backend, there.backend)),
        ("CPUs", form.cpus, _amount(there.cpus, "no limit")),
        ("Memory", _in_mib(form.memory_mib), _memory(there.memory_bytes, "no limit")),
        ("CPUs kept free", form.cpu_request, _amount(there.cpu_request, "as the engine has it")),
        (
            "Memory kept free",
            _in_mib(form.memory_request_mib),
            _memory(there.memory_request_bytes, "as the engine has it"),
        ),
    )
    return found + [(name, now, asked) for name, asked, now in limits if asked and asked != now]


def _replicas(there: Endpoint) -> str:
    """Of each version; unknown where its engine alone counts them."""
    if any(one.managed_by for one in there.variants):
        return "unknown"
    return str(max((one.replicas.desired for one in there.variants), default=1))


def _amount(value: float | None, none: str) -> str:
    return none if value is None else f"{value:g}"


def _memory(size_bytes: int | None, none: str) -> str:
    return none if size_bytes is None else words.mib(size_bytes)


def _in_mib(text: str) -> str:
    return text and f"{text} MiB"


def _shown(version: Version | None) -> dict[str, str]:
    if version is None:
        return dict.fromkeys(("Version", "Score", "Form", "Framework", "Size"), words.UNKNOWN)
    return {
        "Version": f"v{version.version}" + (f" {version.label}" if version.label else ""),
        "Score": words.UNKNOWN if version.score is None else f"{version.metric} {version.score:.4g}",
        "Form": version.accelerated or "the original",
        "Framework": version.framework,
        "Size": words.size(version.size_bytes),
    }


def request_lines(model: str, version: str, form: DeployForm) -> list[str]:
    """The form as commands."""
    if form.canary == "yes":
        return [CanaryForm(version, form.steps, form.every).command(model, form.endpoint or model)]
    lines = [_deploy_line(model, version, form)]
    if form.follows:
        target = f"{form.metric or METRICS[0][0]}={form.amount}" if form.amount else ""
        bounds = (("--min", form.least), ("--max", form.most), ("--target", target))
        options = (*bounds, ("--idle", form.idle), ("--autoscaler", form.autoscaler))
        parts = [part for option, value in options if value for part in (option, value)]
        lines.append(" ".join(words.shell_word(part) for part in ("tidegate", "scale", form.endpoint or model, *parts)))
    return lines


def _deploy_line(model: str, version: str, form: DeployForm) -> str:
    parts = ["tidegate", "deploy", f"{model}:{version}"]
    if form.endpoint and form.endpoint != model:
        parts += ["--endpoint", form.endpoint]
    memory, kept = (text and f"{text}m" for text in (form.memory_mib, form.memory_request_mib))
    where = (("--replicas", form.replicas), ("--backend", form.backend))
    limits = (("--cpus", form.cpus), ("--memory", memory))
    options = (*where, *limits, ("--cpu-request", form.cpu_request), ("--memory-request", kept))
    parts += [part for option, value in options if value for part in (option, value)]
    return " ".join(words.shell_word(part) for part in parts)


def _whole(text: str, what: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or len(text) > 9:
        raise InvalidArgument(f"{text[:40]!r} is no number of {what}", field=what)
    return int(text)


def _mib(text: str, what: str) -> int | None:
    """In bytes."""
    value = _number(text, what, words.MIB)
    return None if value is None else round(value)


def _number(text: str, what: str, unit: float = 1.0) -> float | None:
    """`text` times `unit` (2 with `words.MIB`: bytes); None for an empty field."""
    if not text.strip():
        return None
    number = finite_number(text)
    value = None if number is None else finite(number * unit)
    if value is None:
        raise InvalidArgument(f"{text[:40]!r} is no number ({what})", field=what)
    return value
