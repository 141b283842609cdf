"""Experiments, shadows and canaries as sections of a document."""

from typing import Any

import pytest

from support.control import ME
from support.documents import apply, words
from tidegate.errors import Conflict, InvalidArgument
from tidegate.wire.rest import RollbackRequest
from tidegate.wiring import Container

EXPERIMENT: dict[str, Any] = {
    "name": "first",
    "control": 1,
    "treatments": ["v2"],
    "metrics": ["converted:increase:proportion,window=1d"],
    "guardrails": ["errors:margin=abs:0.01"],
    "split": [80, 20],
    "max_days": 14,
    "auto": True,
    "ramp": [10, 100],
    "ramp_every": "12h",
}


def test_an_experiment_is_a_section_that_starts_once_and_stays_as_it_began(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1", "experiment": EXPERIMENT}
    (planned,) = apply(platform, document, dry_run=True)
    (done,) = apply(platform, document)
    assert done == planned
    assert words(done)["experiment.metrics"] == (None, "converted:increase:proportion,window=1d")
    assert words(done)["experiment.ramp_every"] == ("1d", "12h")
    assert "experiment.alpha" not in words(done)
    assert done.note.startswith("experiment first is Running")
    running = platform.experiments.get("churn", "first")
    assert (running.active, running.auto, running.max_days) == (True, True, 14.0)
    (again,) = apply(platform, document)
    assert (again.outcome, again.changes) == ("unchanged", [])
    (exported,) = platform.documents.export("churn").documents
    assert exported["experiment"] == {**EXPERIMENT, "control": "1", "treatments": ["2"]}
    assert apply(platform, exported)[0].outcome == "unchanged"
    with pytest.raises(Conflict, match="was asked for with other alpha, auto, and stays as it began"):
        apply(platform, document | {"experiment": EXPERIMENT | {"alpha": 0.1, "auto": False}})
    platform.experiments.stop("churn", "first", ME)
    (over,) = apply(platform, document)
    assert (over.outcome, over.note.partition(":")[0]) == ("unchanged", "experiment first is Stopped")
    assert "experiment" not in platform.documents.export("churn").documents[0]


def test_what_is_wrong_of_an_experiment_is_said_by_its_path_and_leaves_no_endpoint(platform: Container) -> None:
    for change, path in (
        ({"metrics": ["converted"]}, "experiment.metrics"),
        ({"split": [50, 60]}, "experiment.split"),
        ({"ramp": [50, 10]}, "experiment.ramp"),
        ({"max_days": 60}, "experiment.max_days"),
        ({"on_breach": "panic"}, "experiment.on_breach"),
        ({"metric": []}, "experiment.metric"),
    ):
        document = {"endpoint": "churn", "model": "churn", "version": "1", "experiment": EXPERIMENT | change}
        with pytest.raises(InvalidArgument) as raised:
            apply(platform, document)
        assert raised.value.details["field"] == path, raised.value.message
    assert platform.endpoints.shown.all() == []


def test_numbers_of_many_digits_are_exported_as_they_are(platform: Container) -> None:
    experiment = EXPERIMENT | {
        "metrics": ["revenue:increase:mean,window=1234567s,cap=12345678"],
        "guardrails": ["errors:margin=abs:0.01234567", "revenue:min=1234567"],
        "mde": "0.12345678",
        "max_days": 14,
        "split": [66.66666667, 33.33333333],
    }
    document = {"endpoint": "churn", "model": "churn", "version": "1", "experiment": experiment}
    scaling = {"scaling": {"min": 1, "max": 4, "target": "rps=1234567.5"}, "serving": {"rate_limit": 98765.25}}
    apply(platform, document | scaling)
    (exported,) = platform.documents.export("churn").documents
    assert exported["scaling"]["target"] == "rps=1234567.5"
    assert exported["experiment"]["metrics"] == experiment["metrics"]
    assert apply(platform, exported)[0].outcome == "unchanged"
    (changed,) = apply(platform, document | {"serving": {"rate_limit": 98765.5}})
    assert words(changed) == {"serving.rate_limit": ("98765.25", "98765.5")}


def test_a_draft_is_started_by_the_document_that_says_so(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1", "experiment": EXPERIMENT | {"start": False}}
    (done,) = apply(platform, document)
    assert done.note.startswith("experiment first is Draft")
    (started,) = apply(platform, document | {"experiment": EXPERIMENT})
    assert words(started) == {"experiment.start": ("no", "yes")}
    assert platform.experiments.get("churn", "first").active


def test_a_draft_takes_the_split_that_its_document_says_and_one_that_runs_keeps_its_own(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1", "experiment": EXPERIMENT | {"start": False}}
    apply(platform, document)
    (done,) = apply(platform, document | {"experiment": EXPERIMENT | {"start": False, "split": [60, 40]}})
    assert [arm.share for arm in platform.experiments.get("churn", "first").arms] == [60.0, 40.0]
    assert "experiment.split" in words(done)
    with pytest.raises(Conflict, match="other metrics, and stays as it began"):
        apply(platform, document | {"experiment": EXPERIMENT | {"split": [60, 40], "metrics": ["spent:increase"]}})
    apply(platform, document | {"experiment": EXPERIMENT | {"split": [60, 40]}})
    with pytest.raises(Conflict, match="other arms, and stays as it began"):
        apply(platform, document | {"experiment": EXPERIMENT})


def test_a_shadow_is_a_section_and_an_empty_one_ends_it(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1", "shadow": {"version": 2, "share": 20}}
    (done,) = apply(platform, document)
    assert words(done)["shadow.share"] == ("0", "20")
    assert apply(platform, document)[0].outcome == "unchanged"
    (exported,) = platform.documents.export("churn").documents
    assert exported["shadow"] == {"version": "2", "share": 20}
    with pytest.raises(Conflict, match="has traffic of endpoint"):
        apply(platform, document | {"shadow": {"version": 1, "share": 20}})
    (ended,) = apply(platform, document | {"shadow": {}})
    assert words(ended) == {"shadow.version": ("2", "unset"), "shadow.share": ("20", "0")}
    assert "shadow" not in platform.documents.export("churn").documents[0]
    assert apply(platform, document | {"shadow": {}})[0].outcome == "unchanged"


CANARY: dict[str, Any] = {
    "version": 2,
    "steps": [
        {"analysis": {"guardrails": ["latency:max=80"]}},
        {"setWeight": 5},
        {"pause": {"duration": "10m"}},
        {"setWeight": 50},
        {"pause": {"duration": "10m"}},
        {"setWeight": 100},
    ],
}


def test_a_canary_in_argos_words_begins_once_and_is_what_the_document_says_once_promoted(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1", "canary": CANARY}
    (done,) = apply(platform, document)
    assert words(done)["canary.steps"] == (
        "1, 5, 25, 50, 100 %, each for 10m",
        "5, 50, 100 %, each for 10m, with latency:max=80",
    )
    assert done.note.startswith("canary of version 2 is Running")
    running = platform.canaries.get("churn")
    assert (running.version, running.steps, running.every_s) == ("2", [5.0, 50.0, 100.0], 600.0)
    assert apply(platform, document)[0].outcome == "unchanged"
    (exported,) = platform.documents.export("churn").documents
    assert exported["canary"] == CANARY | {"version": "2"}
    assert apply(platform, exported)[0].outcome == "unchanged"
    with pytest.raises(Conflict, match="runs with other steps"):
        apply(platform, document | {"canary": {"version": 2}})
    platform.canaries.promote("churn", ME)
    (over,) = apply(platform, document)
    assert (over.outcome, over.note) == ("unchanged", "canary of version 2 is Successful: promoted by me")
    assert platform.endpoints.get("churn").asked == {"2": 100.0}
    platform.endpoints.rollback("churn", RollbackRequest(), ME)
    assert apply(platform, document)[0].outcome == "unchanged"  # it had its canary: another try is a person's to begin


def test_a_canary_that_was_taken_back_is_not_begun_again_by_the_same_file(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1", "canary": CANARY}
    apply(platform, document)
    platform.canaries.abort("churn", ME)
    (again,) = apply(platform, document)
    assert (again.outcome, again.note) == ("unchanged", "canary of version 2 is Failed: aborted by me")
    assert platform.endpoints.get("churn").automation is None


WRONG_STEPS: tuple[tuple[list[Any], str, str], ...] = (
    ([{"setweight": 5}], "canary.steps[0].setweight", "did you mean 'setWeight'"),
    ([{"setWeight": 5, "pause": {"duration": "1m"}}], "canary.steps[0]", "a mapping: give one of setWeight"),
    ([{"setWeight": 5}, {"pause": {}}], "canary.steps[1].pause", "tidegate canary pause"),
    (
        [{"setWeight": 5}, {"pause": {"duration": "1m"}}, {"setWeight": 9}, {"pause": {"duration": "2m"}}],
        "canary.steps[3].pause",
        "all steps take as long",
    ),
    ([{"pause": {"duration": "1m"}}], "canary.steps", "no setWeight"),
    ([{"setWeight": 50}, {"setWeight": 5}], "canary.steps", "steps must rise"),
    ([{"analysis": {"guardrails": ["weather:max=1"]}}, {"setWeight": 5}], "canary", "no guardrail 'weather'"),
)


def test_steps_that_cannot_be_taken_are_refused(platform: Container) -> None:
    for steps, path, said in WRONG_STEPS:
        document = {"endpoint": "churn", "model": "churn", "version": "1", "canary": {"version": 2, "steps": steps}}
        with pytest.raises(InvalidArgument) as raised:
            apply(platform, document)
        assert said in raised.value.message, steps
        assert raised.value.details["field"].startswith(path) or path == "canary", steps
    assert platform.endpoints.shown.all() == []


def test_a_version_that_gets_all_of_the_traffic_is_guarded_as_a_deployment_is(platform: Container) -> None:
    document = {"endpoint": "churn", "model": "churn", "version": "1"}
    apply(platform, document)
    apply(platform, document | {"version": "2"})
    guard = platform.canaries.get("churn")
    assert (guard.kind, guard.version, guard.stable) == ("guard", "2", {"1": 100.0})
    apply(platform, document | {"replicas": 2, "version": "2"})
    apply(platform, document, guard=False)
    assert platform.canaries.get("churn").version == "2"
