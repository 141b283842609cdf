"""What people write of metrics and guardrails, and what is said of what they wrote wrong."""

from __future__ import annotations

import pytest

from tidegate.core.experiments import grammar
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.experiments import Guardrail, Metric


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("score:increase", Metric("score", "increase")),
        (
            "converted:increase:proportion,window=7d,delay=1h30m",
            Metric("converted", "increase", "proportion", window_s=604_800.0, delay_s=5_400.0),
        ),
        (
            "revenue:increase:mean,window=0s,cap=500,agg=sum,source=feedback",
            Metric("revenue", "increase", "mean", cap=500.0, agg="sum"),
        ),
        ("spent:decrease:ratio,per=visits", Metric("spent", "decrease", "ratio", per="visits")),
        ("errors:decrease", Metric("errors", "decrease", "proportion", agg="mean", source="errors")),
        ("latency_p95:decrease", Metric("latency_p95", "decrease", "quantile", agg="mean", source="latency", q=0.95)),
        (
            "hit:increase:proportion,source=label,window=10m",
            Metric("hit", "increase", "proportion", 600.0, 0.0, source="label"),
        ),
    ],
)
def test_a_metric_is_read_and_written_back(text: str, metric: Metric) -> None:
    assert grammar.metric_of(text) == metric
    assert grammar.metric_of(grammar.metric_text(metric)) == metric


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("score", "which way is better"),
        ("score:up", "'up' is neither increase nor decrease"),
        ("9lives:increase", "is no name"),
        (":increase", "is no name"),
        ("score:increase:median", "'median' is no type"),
        ("score:increase:mean:more", "left over"),
        ("score:increase,window=7days", "is no duration: write it as 7d"),
        ("score:increase,window=400d", "may be up to 90d"),
        ("score:increase,window=1d,window=2d", "given twice"),
        ("score:increase,windo=7d", "'windo=7d' is no option: there are window="),
        ("score:increase,agg=max", "agg is one of last, sum, mean"),
        ("score:increase,cap=nan", "no number"),
        ("score:increase,cap=-1", "cap must be above 0"),
        ("score:increase:quantile,q=1", "above 0 and below 1"),
        ("errors:increase", "more errors is not better: write errors:decrease"),
        ("latency_p95:increase", "more latency is not better: write latency_p95:decrease"),
        ("score:increase:ratio", "needs per=NAME"),
        ("score:increase:mean,per=visits", "needs per=NAME"),
        ("s" * 600 + ":increase", "characters"),
    ],
)
def test_a_metric_that_cannot_be_read_is_told_with_an_example(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        grammar.metric_of(text)
    assert words in refused.value.message
    assert text[:40] in refused.value.message
    assert grammar.METRIC_EXAMPLE in refused.value.message
    assert refused.value.details["field"] == "metrics"


CONVERTED = grammar.metric_of("converted:increase:proportion,window=7d")


@pytest.mark.parametrize(
    ("text", "guardrail"),
    [
        (
            "errors:margin=abs:1%",
            Guardrail(Metric("errors", "decrease", "proportion", agg="mean", source="errors"), "margin", 0.01, True),
        ),
        (
            "latency_p99:margin=10%,dry_run",
            Guardrail(
                Metric("latency_p99", "decrease", "quantile", agg="mean", source="latency", q=0.99),
                "margin",
                0.1,
                dry_run=True,
            ),
        ),
        ("latency:max=200", Guardrail(Metric("latency", "decrease", "mean", agg="mean", source="latency"), "max", 200)),
        ("converted:margin=0.02", Guardrail(CONVERTED, "margin", 0.02)),
        ("complaints:max=3", Guardrail(Metric("complaints", "decrease"), "max", 3.0)),
        ("stars:min=4", Guardrail(Metric("stars", "increase"), "min", 4.0)),
        (
            "refunds:margin=0.05,decrease,proportion,window=1d",
            Guardrail(Metric("refunds", "decrease", "proportion", 86_400.0), "margin", 0.05),
        ),
    ],
)
def test_a_guardrail_is_read_and_written_back(text: str, guardrail: Guardrail) -> None:
    assert grammar.guardrail_of(text, [CONVERTED]) == guardrail
    assert grammar.guardrail_of(grammar.guardrail_text(guardrail, [CONVERTED]), [CONVERTED]) == guardrail


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("errors", "'' is none of max=X, min=X and margin=X"),
        ("errors:margin", "is none of"),
        ("errors:margin=0", "must be above 0"),
        ("errors:margin=little", "'little' is no number"),
        ("errors:max=abs:5", "leave out abs:"),
        ("refunds:margin=0.1", "which way 'refunds' is worse is not known"),
        ("errors:margin=0.1,dryrun", "'dryrun' is no option"),
        ("latency_p0:margin=0.1", "level of a quantile"),
    ],
)
def test_a_guardrail_that_cannot_be_read_is_told_with_an_example(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        grammar.guardrail_of(text)
    assert words in refused.value.message
    assert grammar.GUARDRAIL_EXAMPLE in refused.value.message
    assert refused.value.details["field"] == "guardrails"


def test_effects_and_splits() -> None:
    assert grammar.effect_of("0.05") == (0.05, False)
    assert grammar.effect_of("5%") == (0.05, False)
    assert grammar.effect_of("abs:0.01") == (0.01, True)
    assert grammar.split_of("50/50") == [50.0, 50.0]
    for wrong in ("0", "-1", "much", "abs:", "inf"):
        with pytest.raises(InvalidArgument, match="mde"):
            grammar.effect_of(wrong)
    with pytest.raises(InvalidArgument, match="as 50/50"):
        grammar.split_of("half")


def test_durations() -> None:
    for text in ("7d", "90m", "0s", "500ms", "1w"):
        assert grammar.seconds_of(grammar.duration_text(grammar.seconds_of(text))) == grammar.seconds_of(text)
    for wrong in ("", "d", "7 days", "-1s", "1d2"):
        with pytest.raises(ValueError, match="is no duration"):
            grammar.seconds_of(wrong)
