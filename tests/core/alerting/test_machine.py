"""The state machine of alerts: what is told when, and that no order, silence, gap or restart changes what must hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.core.alerting.machine import step
from tidegate.core.alerting.model import (
    Action,
    Alert,
    AlertFacts,
    KnownToBaseline,
    Notice,
    Observation,
    Outcome,
    Receiver,
    Rule,
    Silence,
    Verdict,
)
from tidegate.core.alerting.quiet import fits

HOOK = Receiver("hook")
RULE = Rule(keep_firing_for_s=0)
TYPES = ("data_drift", "data_quality", "performance_drift", "errors")


def seen(verdict: Verdict = "alert", type_: Any = "data_drift", feature: str = "age", **more: Any) -> Observation:
    return Observation(type_, "churn", type_, verdict, feature=feature, version="1", **more)


def facts(known: tuple[Alert, ...] = (), rule: Rule = RULE, **more: Any) -> AlertFacts:
    rules: Any = dict.fromkeys(TYPES, rule)
    return AlertFacts(**{"rules": rules, "receivers": (HOOK,), "known": known, **more})


def told(outcome: Outcome) -> list[tuple[str, str]]:
    return [(alert.label("feature"), status) for notice in outcome.notices for alert, status in notice.alerts]


def states(outcome: Outcome) -> dict[str, str]:
    return {f"{alert.type} {alert.label('feature')}": alert.state for alert in outcome.alerts}


def test_an_alert_fires_once_is_repeated_and_ends() -> None:
    first = step(facts(), [seen()], 0)
    assert told(first) == [("age", "firing")]
    assert told(step(facts(first.alerts), [seen()], 60)) == []
    again = step(facts(first.alerts), [seen()], RULE.repeat_interval_s)
    assert told(again) == [("age", "firing")]
    ended = step(facts(again.alerts), [seen("ok")], RULE.repeat_interval_s + 60)
    assert told(ended) == [("age", "resolved")]
    assert ended.alerts[0].ended_because == "results are good again"
    assert told(step(facts(ended.alerts), [], RULE.repeat_interval_s + 120)) == []


def test_for_waits_until_results_have_alerted_so_long() -> None:
    rule = Rule(for_s=600)
    pending = step(facts(rule=rule), [seen()], 0)
    assert (states(pending), told(pending)) == ({"data_drift age": "pending"}, [])
    assert states(step(facts(pending.alerts, rule), [], 900)) == {"data_drift age": "pending"}, "no result, no alert"
    assert states(step(facts(pending.alerts, rule), [seen("unknown")], 900)) == {"data_drift age": "pending"}
    assert told(step(facts(pending.alerts, rule), [seen()], 599)) == []
    assert told(step(facts(pending.alerts, rule), [seen()], 600)) == [("age", "firing")]
    gone = step(facts(pending.alerts, rule), [seen("ok")], 700)
    assert (states(gone), told(gone)) == ({"data_drift age": "resolved"}, [])


def test_keep_firing_for_rides_over_a_good_result() -> None:
    rule = Rule(keep_firing_for_s=600)
    fired = step(facts(rule=rule), [seen()], 0)
    good = step(facts(fired.alerts, rule), [seen("ok")], 300)
    assert states(good) == {"data_drift age": "firing"}
    back = step(facts(good.alerts, rule), [seen()], 600)
    assert states(step(facts(back.alerts, rule), [], 1200)) == {"data_drift age": "firing"}
    assert told(step(facts(good.alerts, rule), [], 900)) == [("age", "resolved")], "also when no further result comes"
    doubtful = step(facts(good.alerts, rule), [seen("unknown")], 600)
    assert states(step(facts(doubtful.alerts, rule), [], 5000)) == {"data_drift age": "not_enough_data"}


def test_unknown_is_its_own_state_and_repeats_nothing() -> None:
    fired = step(facts(), [seen()], 0)
    unknown = step(facts(fired.alerts), [seen("unknown")], 60)
    assert states(unknown) == {"data_drift age": "not_enough_data"}
    later = step(facts(unknown.alerts), [seen("unknown")], 10 * RULE.repeat_interval_s)
    assert told(later) == []
    assert step(facts(), [seen("unknown")], 0) == Outcome()


def test_a_fault_of_a_column_inhibits_its_drift_and_an_outage_all_statistics() -> None:
    quality = step(facts(), [seen(), seen(type_="data_quality"), seen(feature="income")], 0)
    assert states(quality) == {
        "data_drift age": "inhibited",
        "data_drift income": "firing",
        "data_quality age": "firing",
    }
    assert set(told(quality)) == {("income", "firing"), ("age", "firing")}, "of age the fault alone"
    assert [len(notice.alerts) for notice in quality.notices] == [1, 1]
    few = step(facts(quality.alerts), [seen(type_="errors", feature="", severity="high")], 30)
    assert states(few)["data_drift income"] == "firing", "a few failures explain nothing"
    outage = step(facts(quality.alerts), [seen(type_="errors", feature="", severity="critical")], 60)
    assert states(outage) == {
        "data_drift age": "inhibited",
        "data_drift income": "inhibited",
        "data_quality age": "inhibited",
        "errors ": "firing",
    }
    over = step(facts(outage.alerts), [seen("ok", "errors", ""), seen("ok", "data_quality"), seen()], 120)
    assert ("age", "firing") in told(over), "what was inhibited from its beginning is told once nothing explains it"


def test_what_was_inhibited_from_beginning_to_end_is_never_told() -> None:
    outage = seen(type_="errors", feature="", severity="critical")
    first = step(facts(), [seen(), outage], 0)
    second = step(facts(first.alerts), [seen("ok"), outage], 60)
    assert told(first) == [("", "firing")]
    assert told(second) == []


def test_a_silence_mutes_what_fires_and_loses_no_end() -> None:
    silence = Silence("s", {"feature": "a*", "alertname": "data_drift"}, 0, 1000)
    muted = step(facts(silences=(silence,)), [seen(), seen(feature="income")], 0)
    assert told(muted) == [("income", "firing")]
    assert states(muted)["data_drift age"] == "silenced"
    assert told(step(facts(muted.alerts, silences=(silence,)), [], 1000)) == [("age", "firing")], "once it is over"
    fired = step(facts(), [seen()], 0)
    ended = step(facts(fired.alerts, silences=(silence,)), [seen("ok")], 60)
    assert told(ended) == [("age", "resolved")]


def test_in_a_silence_only_a_star_stands_for_other_characters() -> None:
    wanted = ("*", "a*", "*a", "*g*", "a*e", "age", "a**e", "x[0]", "ag?", "", "age*age", "*e*g*")
    assert [one for one in wanted if fits("age", one)] == ["*", "a*", "*g*", "a*e", "age", "a**e"]
    assert fits("x[0]", "x[0]")
    assert fits("", "*")


def test_an_acknowledged_alert_is_not_repeated_and_its_end_is_told() -> None:
    fired = step(facts(), [seen()], 0)
    known = tuple(replace(alert, acknowledged_by="ada") for alert in fired.alerts)
    late = step(facts(known), [seen()], 2 * RULE.repeat_interval_s)
    assert (told(late), states(late)) == ([], {"data_drift age": "acknowledged"})
    assert told(step(facts(late.alerts), [seen("ok")], 3 * RULE.repeat_interval_s)) == [("age", "resolved")]


def test_a_group_is_one_message_with_what_is_new() -> None:
    both = step(facts(), [seen(), seen(feature="income")], 0)
    assert [len(notice.alerts) for notice in both.notices] == [2]
    assert both.notices[0].group == {"alertname": "data_drift", "endpoint": "churn"}
    more = step(facts(both.alerts), [seen("ok"), seen(feature="tenure"), seen(feature="income")], 60)
    assert sorted(told(more)) == [("age", "resolved"), ("tenure", "firing")]
    one_left = step(facts(more.alerts), [seen("ok", feature="tenure")], 120)
    assert one_left.notices[0].status == "firing", "income still fires: nobody is to close the incident"
    alone = step(facts(rule=replace(RULE, group_by=("feature",))), [seen(), seen(feature="income")], 0)
    assert len(alone.notices) == 2


def test_receivers_hear_what_they_want_and_a_new_one_what_fires() -> None:
    picky, other = Receiver("picky", severity_min="high"), Receiver("other", endpoint="fraud")
    first = step(facts(receivers=(picky, other)), [seen(severity="low")], 0)
    assert told(first) == []
    worse = step(facts(first.alerts, receivers=(picky, other, HOOK)), [seen(severity="critical")], 60)
    assert [notice.receiver for notice in worse.notices] == ["picky", "hook"]


def test_a_threshold_raises_the_bar() -> None:
    rule = replace(RULE, threshold=0.2)
    assert step(facts(rule=rule), [seen(measured=0.1)], 0).alerts == ()
    assert told(step(facts(rule=rule), [seen(measured=0.2)], 0)) == [("age", "firing")]
    assert told(step(facts(rule=rule), [seen(measured=None)], 0)) == [("age", "firing")]


def test_an_alert_ends_with_its_version_and_with_its_rule() -> None:
    fired = step(facts(served=frozenset({"1", "2"})), [seen()], 0)
    gone = step(facts(fired.alerts, served=frozenset({"2"})), [], 60)
    assert (told(gone), gone.alerts[0].ended_because) == ([("age", "resolved")], "version 1 gets no traffic any more")
    off = step(facts(fired.alerts, replace(RULE, enabled=False)), [seen()], 60)
    assert states(off) == {"data_drift age": "resolved"}
    assert step(facts(rule=replace(RULE, enabled=False)), [seen()], 60) == Outcome()


def test_an_alert_ends_where_the_newest_baseline_has_nothing_of_what_it_is_about() -> None:
    has = KnownToBaseline(frozenset({"age"}), frozenset({"region=north"}))
    fired = step(facts(baselines={"1": has}), [seen(), seen(segment="region=north")], 0)
    assert [alert.state for alert in fired.alerts] == ["firing", "firing"]
    assert told(step(facts(fired.alerts, baselines={"1": has}), [], 60)) == []
    whole = step(facts(fired.alerts, baselines={"1": replace(has, segments=frozenset())}), [], 60)
    assert [alert.ended_because for alert in whole.alerts if alert.state == "resolved"] == [
        "the baseline of version 1 has no segment region=north any more"
    ]
    without = step(facts(fired.alerts, baselines={"1": KnownToBaseline(frozenset({"income"}))}), [], 60)
    assert {alert.ended_because for alert in without.alerts} == {"the baseline of version 1 has no column age any more"}
    assert told(without) == [("age", "resolved"), ("age", "resolved")]


def test_performance_ends_with_the_baselines_labels_and_latency_with_no_baseline() -> None:
    both = [seen(type_="performance_drift", feature=""), seen(type_="errors", feature="")]
    fired = step(facts(), both, 0)
    unlabelled = KnownToBaseline(frozenset(), labels=False)
    after = step(facts(fired.alerts, baselines={"1": unlabelled}), [], 60)
    assert states(after) == {"performance_drift ": "resolved", "errors ": "firing"}


def test_an_action_is_taken_once_an_alert_after_its_cooldown_and_not_while_something_keeps_it_quiet() -> None:
    rule = replace(RULE, actions=(Action("rollback"), Action("webhook", "https://r.example")), cooldown_s=600)
    first = step(facts(rule=rule), [seen(), seen(feature="income")], 0)
    assert [(deed.action.kind, deed.version, len(deed.alerts)) for deed in first.deeds] == [
        ("rollback", "1", 2),
        ("webhook", "", 2),
    ]
    acted = {"rollback": 0.0, "webhook=https://r.example": 0.0}
    second = step(facts(first.alerts, rule, acted_at=acted), [seen(feature="tenure"), seen()], 300)
    assert second.deeds == (), "cooling down"
    third = step(facts(second.alerts, rule, acted_at=acted), [seen(feature="tenure")], 600)
    assert [[one.label("feature") for one in deed.alerts] for deed in third.deeds] == [["tenure"], ["tenure"]]
    silence = Silence("s", {"endpoint": "churn"}, 0, 9)
    assert step(facts(rule=rule, silences=(silence,)), [seen()], 1).deeds == ()


# -- what holds of every history --------------------------------------------------------------------------------------

_verdicts: st.SearchStrategy[Verdict] = st.sampled_from(("alert", "ok", "unknown"))
_results = st.lists(
    st.builds(
        seen,
        _verdicts,
        st.sampled_from(TYPES),
        st.sampled_from(("", "age", "income")),
        severity=st.sampled_from(("low", "high")),
        measured=st.none() | st.floats(0, 1),
    ),
    max_size=6,
)
_minutes = st.integers(1, 200)
_histories = st.lists(st.tuples(_minutes, _results), min_size=1, max_size=12)
_rules = st.builds(
    Rule,
    for_s=st.sampled_from((0.0, 600.0)),
    keep_firing_for_s=st.sampled_from((0.0, 900.0)),
    repeat_interval_s=st.just(7200.0),
    threshold=st.none() | st.just(0.5),
)
_silences = st.lists(
    st.builds(
        lambda name, feature, start, minutes: Silence(name, {"feature": feature}, start * 60, (start + minutes) * 60),
        st.text("ab", min_size=1, max_size=3),
        st.sampled_from(("*", "age", "")),
        st.integers(0, 1000),
        _minutes,
    ),
    max_size=3,
)


def _run(history: Any, rule: Rule, silences: Any) -> list[tuple[float, Outcome]]:
    known: tuple[Alert, ...] = ()
    now, found = 0.0, []
    for minutes, results in history:
        now += minutes * 60.0
        outcome = step(facts(known, rule, silences=tuple(silences)), results, now)
        known = tuple(alert for alert in outcome.alerts if alert.condition != "resolved")
        found.append((now, outcome))
    return found


def _heard(found: list[tuple[float, Outcome]]) -> dict[str, list[tuple[float, str]]]:
    heard: dict[str, list[tuple[float, str]]] = {}
    for now, outcome in found:
        for notice in outcome.notices:
            for alert, status in notice.alerts:
                heard.setdefault(alert.fingerprint, []).append((now, status))
    return heard


@given(_histories, _rules, _silences)
@settings(max_examples=100, deadline=None)
def test_nobody_hears_the_same_twice_within_the_repeat_interval_and_every_end_follows_a_beginning(
    history: Any, rule: Rule, silences: Any
) -> None:
    for heard in _heard(_run(history, rule, silences)).values():
        assert heard[0][1] == "firing"
        for (before, first), (after, second) in pairwise(heard):
            assert first != second or (second == "firing" and after - before >= rule.repeat_interval_s)


@given(_histories, _rules, _silences)
@settings(max_examples=100, deadline=None)
def test_unknown_neither_fires_nor_resolves(history: Any, rule: Rule, silences: Any) -> None:
    newest: dict[str, str] = {}
    for (_, outcome), (_, results) in zip(_run(history, rule, silences), history, strict=True):
        worst = {one.fingerprint: "unknown" for one in results}
        worst |= {one.fingerprint: "ok" for one in results if one.verdict == "ok" or _small(one, rule)}
        worst |= {one.fingerprint: "alert" for one in results if one.verdict == "alert" and not _small(one, rule)}
        newest |= worst
        for alert in outcome.alerts:
            if alert.condition == "resolved":
                assert newest[alert.fingerprint] != "unknown"
        for notice in outcome.notices:
            for alert, status in notice.alerts:
                assert status == "resolved" or newest[alert.fingerprint] != "unknown"


def _small(one: Observation, rule: Rule) -> bool:
    return rule.threshold is not None and one.measured is not None and one.measured < rule.threshold


@given(_histories, _rules, _silences)
@settings(max_examples=100, deadline=None)
def test_who_heard_that_an_alert_fires_hears_of_its_end_whatever_the_silences(
    history: Any, rule: Rule, silences: Any
) -> None:
    heard: dict[str, str] = {}
    for _, outcome in _run(history, rule, silences):
        said = {alert.id: status for notice in outcome.notices for alert, status in notice.alerts}
        for alert in outcome.alerts:
            before = heard.get(alert.id)
            if alert.condition == "resolved" and before is not None:
                assert said.get(alert.id) == "resolved"
        heard |= said


@given(_histories, _rules, _silences, st.randoms())
@settings(max_examples=100, deadline=None)
def test_the_order_of_results_and_of_what_is_known_does_not_matter(
    history: Any, rule: Rule, silences: Any, chance: Any
) -> None:
    shuffled = [(minutes, chance.sample(results, len(results))) for minutes, results in history]
    found, other = _run(history, rule, silences), _run(shuffled, rule, silences[::-1])
    assert [_essence(outcome) for _, outcome in found] == [_essence(outcome) for _, outcome in other]


def _essence(outcome: Outcome) -> Any:
    return (
        [(alert.id, alert.state, alert.severity, alert.told) for alert in outcome.alerts],
        [_message(notice) for notice in outcome.notices],
    )


def _message(notice: Notice) -> Any:
    return notice.receiver, notice.group, notice.status, [(alert.id, status) for alert, status in notice.alerts]


@given(_histories, _rules, _silences)
@settings(max_examples=100, deadline=None)
def test_looking_again_at_the_same_moment_tells_nothing_new(history: Any, rule: Rule, silences: Any) -> None:
    """A step that is made again after a crash between two transactions."""
    for (now, outcome), (_, results) in zip(_run(history, rule, silences), history, strict=True):
        kept = tuple(alert for alert in outcome.alerts if alert.condition != "resolved")
        again = step(facts(kept, rule, silences=tuple(silences)), [], now)
        assert again.notices == ()
        assert {alert.id: alert.state for alert in again.alerts} == {alert.id: alert.state for alert in kept}
        del results
