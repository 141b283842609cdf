"""Canaries on pages: the form that begins one, the same as a command, and what can be done with one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.client.resources.canary import CanaryOptions
from tidegate.console.watching.spans import span_s, written
from tidegate.console.words import shell_word
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.canary import CanaryView
from tidegate.wire.numbers import finite_number

STEPS, EVERY = "1,5,25,50,100", "10m"
STATES = {
    "running": "info",
    "paused": "warn",
    "promoted": "ok",
    "aborted": "bad",
    "failed": "bad",
    "ended": "idle",
}
"""States of a canary, and their tones."""
Verb = tuple[str, str, str]


@dataclass(frozen=True)
class CanaryForm:
    """Fields as they were filled in."""

    version: str = ""
    steps: str = STEPS
    every: str = EVERY
    guardrails: str = ""

    def shares(self) -> list[float]:
        """Percent, step by step. Raises `InvalidArgument`."""
        return [_percent(one) for one in self.steps.split(",")]

    def options(self) -> CanaryOptions:
        """The rest, as the client takes it. Raises `InvalidArgument`."""
        lines = [line.strip() for line in self.guardrails.splitlines() if line.strip()]
        options: CanaryOptions = {"every_s": span_s(self.every, "every step")}
        if lines:
            options["guardrails"] = lines
        return options

    def command(self, model: str, endpoint: str) -> str:
        """The form as a command."""
        parts = ["tidegate", "deploy", f"{model}:{self.version or 'VERSION'}"]
        if endpoint != model:
            parts += ["--endpoint", endpoint]
        parts += ["--canary", self.steps.replace(" ", ""), "--every", self.every.strip()]
        for line in self.guardrails.splitlines():
            if line.strip():
                parts += ["--guardrail", line.strip()]
        return " ".join(shell_word(part) for part in parts)


def filled(form: Mapping[str, str], version: str = "") -> CanaryForm:
    """What came of the page; by default the usual steps."""
    usual = CanaryForm(version)
    return CanaryForm(*(form.get(name, getattr(usual, name)) for name in CanaryForm.__dataclass_fields__))


def verbs(view: CanaryView) -> list[Verb]:
    """What can be done with it as it is now: the verb, what its button says, its look. The API decides it again."""
    if view.kind == "guard":
        return [("abort", "Return to stable now", "danger")] if view.ended_at is None else []
    if view.ended_at is not None:
        return [("retry", "Begin it anew", "")] if view.state in ("aborted", "failed", "ended") else []
    first: Verb = ("resume", "Resume", "primary") if view.state == "paused" else ("pause", "Pause", "")
    return [first, ("promote", f"Promote version {view.version} now", ""), ("abort", "Abort", "danger")]


def title(view: CanaryView) -> str:
    """What it is, in words."""
    if view.kind == "guard":
        return f"Version {view.version} is watched since it was deployed"
    return f"Canary of version {view.version}"


def mark(view: CanaryView) -> str:
    """Which one it is: what a button is about."""
    return f"version {view.version}, of {view.started_at:.3f}"


def step_said(view: CanaryView) -> str:
    """Where it is."""
    if view.kind == "guard":
        return f"it has {view.weight:g} % of the traffic"
    return f"step {min(view.step + 1, len(view.steps))} of {len(view.steps)}, {view.weight:g} % of the traffic"


def every_said(view: CanaryView) -> str:
    """How long a step takes at least."""
    return written(view.every_s)


def _percent(text: str) -> float:
    value = finite_number(text.strip().removesuffix("%"))
    if value is None:
        raise InvalidArgument(f"steps: {text[:40]!r} is no percentage: write them as {STEPS}", field="steps")
    return value
