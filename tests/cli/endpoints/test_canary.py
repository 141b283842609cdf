"""What `tidegate canary` tells on a terminal of 80 columns, and what `deploy` refuses beside --canary."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tidegate.cli.endpoints.canary import CanaryGiven, canary_text
from tidegate.cli.endpoints.deploy import deploy
from tidegate.cli.main import root
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.canary import CanaryStep, CanaryView
from tidegate.wire.experiments.experiments import GuardrailView

AT = 1_795_003_200.0
RUNNING = CanaryView(
    endpoint="churn",
    kind="canary",
    version="2",
    stable={"1": 100.0},
    state="running",
    step=1,
    steps=[1.0, 5.0, 100.0],
    weight=5.0,
    every_s=600.0,
    started_at=AT,
    step_since=AT + 600,
    next_at=AT + 1200,
    reason="no breach in 1204 requests, 1187 of stable, and a few more words than fit into one line of a terminal",
    next="the promotion when the step's time is over",
    guardrails=[
        GuardrailView("errors", "canary", 0.0, 0.0043, 0.01, "ok", absolute=True),
        GuardrailView("latency", "canary", None, None, 0.5, "unknown"),
        GuardrailView("drift", "canary", 0.04, 0.0, 0.25, "ok", "max", dry_run=True),
    ],
    history=[CanaryStep(1.0, AT, AT + 600, 240, 251, "no breach"), CanaryStep(5.0, AT + 600, None, 1204, 1187, "")],
)


def test_where_it_is_why_and_what_comes_next() -> None:
    told = canary_text(RUNNING).splitlines()
    assert told[0] == "canary of churn:2: running, step 2 of 3, 5 %"
    assert max(map(len, told)) <= 80
    assert "next    the promotion when the step's time is over, not before 2026-11-18" in told[3]
    assert any(line.startswith("drift") and "(dry run)" in line for line in told)
    assert told[-1].split() == ["5", "%", "2026-11-18", "12:10:00Z", "1204", "1187"]


def test_help_fits_and_ends_with_examples() -> None:
    for argv in (["canary", "--help"], ["canary", "pause", "--help"], ["deploy", "--help"]):
        ran = CliRunner().invoke(root, argv, terminal_width=80)
        assert ran.exit_code == 0
        assert "Examples" in ran.output
        assert "tidegate canary" in ran.output or "--canary" in ran.output


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["churn:2", "--every", "5m"], "go with --canary"),
        (["churn:2", "--guardrail", "errors:off"], "go with --canary"),
        (["churn@champion", "--canary", "5,100", "--follow"], "do not go together"),
        (["churn:2", "--canary", "5,100", "--no-guard"], "NAME:off"),
        (["churn:2", "--canary", "5,100", "--replicas", "2"], "runs as the endpoint does"),
        (["churn:2", "--canary", "5,100", "--cache-ttl", "60"], "runs as the endpoint does"),
        (["churn:2", "--canary", "five"], "list of percents"),
        (["churn:2", "--canary", "5,100", "--every", "soon"], "no span of time"),
    ],
)
def test_what_is_refused_before_anything_is_asked(argv: list[str], words: str) -> None:
    ran = CliRunner().invoke(root, ["--url", "http://127.0.0.1:9", "deploy", *argv])
    assert isinstance(ran.exception, InvalidArgument), ran.exception
    assert words in ran.exception.message


def test_a_canary_is_asked_for_by_its_steps() -> None:
    assert CanaryGiven("5,100", None, ()).is_asked
    assert not CanaryGiven(None, None, ()).is_asked
    assert deploy.name == "deploy"
