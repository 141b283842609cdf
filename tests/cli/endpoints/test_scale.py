"""What `tidegate scale` and `status` say of the number of replicas."""

from __future__ import annotations

from tidegate.cli.endpoints.scale import explained, scaled
from tidegate.wire.endpoints.scaling import Scale, ScaleDecision, ScaleSamples, ScalingView

VIEW = ScalingView(1, 100, "concurrency", 12.5, 60.0, 6.0, 300.0)
SAMPLES = ScaleSamples("concurrency", 12.5, 1234.5, 60.0, 1300.25, 6.0, 99, 1.25, ["gateway-1"])
RUSH = "a rush: 1.3e+03 requests in progress of late, 1.23e+03 over 60 s need 104; the maximum is 100"
BUSY = Scale(
    "an-endpoint-with-a-name",
    2,
    VIEW,
    [
        ScaleDecision("12", 100, 64, "max", RUSH, SAMPLES, 1_800_000_000.0),
        ScaleDecision("11", 1, 1, "previous", "no traffic: one is kept for a while, for a way back"),
    ],
)


def test_the_explanation_fits_eighty_columns_and_says_all() -> None:
    told = explained(BUSY)
    assert max(map(len, told.splitlines())) <= 80
    whole = " ".join(told.split())
    assert "1 to 100 replicas of each version by concurrency=12.5" in whole
    assert "12 100 64 max 1.23e+03 99 1.2 s" in whole
    assert f"version 12: {RUSH}; may change by itself at 2027-01-15 08:00:00Z" in whole
    assert "11 1 1 previous - - -" in whole
    in_status = scaled(BUSY)
    assert max(map(len, in_status)) <= 80
    assert f"version 12: max, {RUSH}" in " ".join(" ".join(in_status).split())


def test_what_is_not_known_is_said_to_be_and_a_fixed_number_says_how_to_change_it() -> None:
    silent = ScaleSamples("rps", 5.0, None, 60.0, None, 6.0, None, None)
    unknown = Scale("e", 1, VIEW, [ScaleDecision("1", 3, 3, "unknown", "the load is not known", silent)])
    assert "1 3 3 unknown unknown - -" in " ".join(explained(unknown).split())
    fixed = Scale("e", 3, None, [ScaleDecision("1", 3, 3, "fixed", "people asked for 3")])
    assert "3 replicas of each version, whatever the load" in " ".join(explained(fixed).split())
    assert scaled(fixed) == []


def test_where_its_engine_counts_nothing_is_said_of_spans_that_it_does_not_look_at() -> None:
    view = ScalingView(2, 20, "cpu", 70.0, 60.0, 6.0, 300.0, None, "engine")
    told = explained(Scale("churn", 2, view, []))
    assert "2 to 20 replicas of each version by cpu=70, which its engine counts" in " ".join(told.split())
    assert "looks at the load" not in told


def test_how_many_there_are_is_unknown_where_their_engine_alone_counts_them() -> None:
    pool = ScaleDecision("1", 1, 1, "engine", "the engine decides", managed_by="cloudrun")
    told = explained(Scale("churn", 1, VIEW, [pool]))
    assert "1 unknown unknown engine - - -" in " ".join(told.split())
