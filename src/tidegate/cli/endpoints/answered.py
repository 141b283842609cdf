"""How the requests to versions ended recently, as the verbs that look print it."""

from __future__ import annotations

from tidegate.cli.output import table
from tidegate.wire.parts import AnsweredView
from tidegate.wire.rest import Endpoint, VariantView

UNKNOWN = "unknown"


def by_version(endpoint: Endpoint) -> list[VariantView]:
    """One variant of each version: those of one version share replicas and counts."""
    return list({one.version: one for one in reversed(endpoint.variants)}.values())[::-1]


def failing(endpoint: Endpoint) -> str:
    """The share of an endpoint's requests that failed, over all versions; "unknown" where no gateway has reported."""
    versions = by_version(endpoint)
    known = [one.answered for one in versions if one.answered is not None]
    if not known or len(known) < len(versions):
        return UNKNOWN
    return _share(sum(map(_bad, known)), sum(one.requests for one in known), silent=_silent(known))


def answered_table(endpoint: Endpoint) -> list[str]:
    """A row for each version: how many requests, and of them failed, timed out, answered with NaN or infinity."""
    versions = by_version(endpoint)
    known = [one.answered for one in versions if one.answered is not None]
    if not versions:
        return []
    rows = [[one.version, *_counts(one)] for one in versions]
    span = f"of the last {max(one.window_s for one in known):.0f} s" if known else "of late"
    more = " (a gateway is silent: there may be more)" if _silent(known) else ""
    return [f"requests {span}{more}", table(("version", "requests", "failed", "timed out", "NaN"), rows, "")]


def _counts(variant: VariantView) -> list[str]:
    one = variant.answered
    if one is None:
        return [UNKNOWN] * 4
    ended = (one.failed, one.timed_out, one.non_finite)
    return [str(one.requests), *(_of(count, one.requests) for count in ended)]


def _of(count: int, requests: int) -> str:
    return f"{count} ({_share(count, requests)})" if count else "0"


def _share(count: int, requests: int, *, silent: bool = False) -> str:
    if not requests:
        return UNKNOWN if silent else "-"
    share = f"{count / requests:.1%}" if count else "0%"
    return f"{share} or more" if silent else share


def _bad(one: AnsweredView) -> int:
    return one.failed + one.timed_out + one.non_finite


def _silent(known: list[AnsweredView]) -> bool:
    return any(one.gateways_silent for one in known)
