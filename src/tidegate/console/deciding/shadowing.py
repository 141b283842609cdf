"""Shadows on pages: the form that starts one, the same as a command, and the comparison in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.console import words
from tidegate.console.words import shell_word
from tidegate.draw.scales import written
from tidegate.errors import InvalidArgument
from tidegate.report.decisions import figures
from tidegate.wire.experiments.shadows import PairedView, ShadowView
from tidegate.wire.numbers import finite_number

SHARE = "20"


@dataclass(frozen=True)
class ShadowForm:
    """Fields as they were filled in."""

    version: str = ""
    share: str = SHARE

    def percent(self) -> float:
        """Raises `InvalidArgument`."""
        value = finite_number(self.share.strip().removesuffix("%"))
        if value is None or not 0 < value <= 100:
            raise InvalidArgument(
                f"{self.share[:40]!r} is no share: give a percentage above 0, up to 100", field="share"
            )
        return value

    def command(self, endpoint: str) -> str:
        """The form as a command."""
        return f"tidegate shadow {endpoint} {shell_word(self.version or 'VERSION')} --share {shell_word(self.share)}"


def filled(form: Mapping[str, str], version: str = "") -> ShadowForm:
    """What came of the page."""
    return ShadowForm(form.get("version", version), form.get("share", SHARE))


def compared(view: ShadowView) -> dict[str, Any]:
    """What the page shows of the comparison; what is not known is no number."""
    return {
        "figures": [
            ("pairs", f"{view.pairs:,}"),
            ("the same answer", _share(view.agreement)),
            ("mean difference", words.UNKNOWN if view.difference is None else written(view.difference)),
            ("failures of the shadow", f"{view.failures:,}"),
            ("not copied for want of room", f"{view.shed:,}"),
        ],
        "latencies": [
            ("live", _ms(view.live_p50_ms), _ms(view.live_p95_ms)),
            ("the shadow", _ms(view.latency_p50_ms), _ms(view.latency_p95_ms)),
        ],
        "until": view.compared_until,
        "paired": view.paired,
        "paired_plot": figures.paired(view.paired) if view.paired and view.paired.units else None,
        "paired_said": _paired(view.paired),
    }


def _paired(view: PairedView | None) -> str:
    if view is None:
        return "Which version is right more often is known once labels come, as feedback."
    if view.difference is None or view.lower is None or view.upper is None:
        return words.sentence(view.verdict)
    between = f"between {100 * view.lower:.2f} and {100 * view.upper:.2f}"
    return f"{words.sentence(view.verdict)}: {100 * view.difference:+.2f} points of accuracy ({between})."


def _share(share: float | None) -> str:
    return words.UNKNOWN if share is None else f"{100 * share:.1f} %"


def _ms(value: float | None) -> str:
    return words.UNKNOWN if value is None else words.duration(value / 1000)
