"""How a shadow stands on a terminal of 80 columns."""

from __future__ import annotations

from dataclasses import replace

from support.decisions import shadow
from tidegate.cli.endpoints.shadow import told
from tidegate.sequential.paired import paired

NOTHING = shadow(
    status="starting",
    pairs=0,
    agreement=None,
    difference=None,
    latency_p50_ms=None,
    latency_p95_ms=None,
    live_p50_ms=None,
    live_p95_ms=None,
    failures=0,
    shed=0,
    paired=None,
)


def test_what_is_not_known_is_said_to_be() -> None:
    text = told(NOTHING)
    assert text.count("not known yet") == 4
    assert "none of these rows has a label yet" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_all_of_it_fits_a_terminal() -> None:
    found = replace(
        NOTHING,
        status="degraded",
        reason="1 of 2 replicas ready",
        pairs=104_226,
        agreement=0.98765,
        difference=0.0123456789,
        latency_p50_ms=1.23,
        latency_p95_ms=4.5678,
        live_p50_ms=1.1,
        live_p95_ms=4.4,
        failures=3,
        shed=1244,
        compared_since=NOTHING.since + 3600,
        paired=paired(9000, 380, 520, 100),
    )
    text = told(found)
    assert all(len(line) <= 80 for line in text.splitlines()), text
    for said in ("98.77% of them", "0.0123457", "p95 4.57 ms", "1244 requests not", "live alone 380", "compared"):
        assert said in text, text
    assert "right more often" in " ".join(text.split())
