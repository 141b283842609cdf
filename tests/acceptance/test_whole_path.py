"""Register, gate, deploy, predict, a second version, traffic, promote, roll back, scale, delete: one story in order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from support.models import Models
from support.platform import Platform
from support.wait import until

pytestmark = pytest.mark.slow

GATE = ("--target", "y", "--metric", "accuracy", "--min-score", "0.8")


@pytest.fixture(scope="module")
def churn(platform: Platform, models: Models) -> str:
    """Two versions behind the gate, the first deployed with two replicas."""
    data = ("--validation-data", models.path("validation.csv"))
    first = platform.done(
        "register",
        models.path("logistic.joblib"),
        "--name",
        "churn",
        "--allow-pickle",
        *data,
        *GATE,
        "--label",
        "v1.0.0",
    )
    assert first["version"] == "1"
    platform.done("register", models.path("forest.joblib"), "--name", "churn", "--allow-pickle", *data, *GATE)
    platform.done("deploy", "churn:1", "--replicas", "2")
    return "churn"


def served(platform: Platform, endpoint: str, models: Models, count: int = 1) -> Counter[str]:
    """Which versions answer; every answer must be that version's own."""
    names = {"1": "logistic", "2": "forest"}
    rows = models.rows[:count]
    said = {version: models.says(name, rows) for version, name in names.items()}
    seen: Counter[str] = Counter()
    for i, row in enumerate(rows.tolist()):
        answer = platform.predict(endpoint, row)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["prediction"] == [said[body["model_version"]][i]]
        assert answer.headers["X-Tidegate-Version"] == body["model_version"]
        assert answer.headers["X-Tidegate-Endpoint"] == endpoint
        assert answer.headers["X-Request-Id"] == body["id"]
        seen[body["model_version"]] += 1
    return seen


def traffic(platform: Platform, endpoint: str) -> dict[str, float]:
    """What is routed, without what is at 0."""
    return {version: weight for version, weight in platform.endpoint(endpoint)["traffic"].items() if weight}


def test_the_gate_scores_a_version_and_keeps_what_it_was_told(platform: Platform, churn: str, models: Models) -> None:
    model = platform.done("models", "show", churn)
    second, first = model["versions"]
    assert (first["version"], first["label"], first["status"]) == ("1", "v1.0.0", "ready")
    assert first["score"] == pytest.approx(models.made["logistic"].score(models.rows, _truth(models)), abs=1e-9)
    assert second["version"] == "2"
    assert len(first["digest"]) == 64


def _truth(models: Models) -> Any:
    import pandas as pd

    return pd.read_csv(models.path("validation.csv"))["y"]


def test_the_same_file_again_is_the_same_version(platform: Platform, churn: str, models: Models) -> None:
    again = platform.done("register", models.path("forest.joblib"), "--name", churn, "--allow-pickle")
    assert again["version"] == "2"
    assert len(platform.done("models", "show", churn)["versions"]) == 2


def test_the_first_version_answers_as_the_model_itself(platform: Platform, churn: str, models: Models) -> None:
    assert served(platform, churn, models, 50) == {"1": 50}
    rows = models.rows[:3]
    many = platform.predict(churn, rows.tolist()).json()
    assert many["prediction"] == models.says("logistic", rows)
    assert many["confidence"] == pytest.approx(models.is_sure("logistic", rows))
    one = platform.predict(churn, rows[0].tolist()).json()
    assert one["confidence"] == pytest.approx(models.is_sure("logistic", rows[:1])[0])


def test_v2_answers_with_named_tensors(platform: Platform, churn: str, models: Models) -> None:
    rows = models.rows[:4]
    tensor = {"name": "input", "shape": [4, 30], "datatype": "FP64", "data": rows.ravel().tolist()}
    answer = platform.ask(f"/v2/models/{churn}/infer", {"id": "mine", "inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    outputs = {output["name"]: output for output in body["outputs"]}
    assert body["id"] == "mine"
    assert outputs["prediction"]["data"] == models.says("logistic", rows)
    assert outputs["probabilities"]["shape"] == [4, 2]


def test_the_command_line_predicts_from_json_and_from_a_file(platform: Platform, churn: str, models: Models) -> None:
    row = models.rows[0].tolist()
    answer = platform.done("predict", churn, "--data", f'{{"features": {row}}}')
    assert answer["prediction"] == models.says("logistic", models.rows[:1])
    from_file = platform.done("predict", churn, "--file", models.path("rows.csv"))
    assert from_file["prediction"] == models.says("logistic", models.rows[:5])


def test_a_part_of_the_traffic_goes_to_the_second_version(platform: Platform, churn: str, models: Models) -> None:
    platform.done("traffic", churn, "1=80", "2=20")
    assert traffic(platform, churn) == {"1": 80, "2": 20}
    seen = until(lambda: _both(served(platform, churn, models, 150)), what="both versions answering")
    assert seen is not None
    assert 0.05 < seen["2"] / seen.total() < 0.4


def _both(seen: Counter[str]) -> Counter[str] | None:
    return seen if len(seen) == 2 else None


def test_a_call_may_pin_a_version_by_number_or_label(platform: Platform, churn: str, models: Models) -> None:
    row = models.rows[0].tolist()
    for pin, version in (("2", "2"), ("1", "1"), ("v1.0.0", "1"), ("latest", None)):
        answer = platform.predict(churn, row, model_version=pin)
        assert answer.status_code == 200, answer.text
        assert version in (None, answer.json()["model_version"])
    unknown = platform.predict(churn, row, model_version="7")
    assert unknown.status_code == 404
    assert "1" in unknown.json()["error"]
    assert "2" in unknown.json()["error"]


def test_promote_gives_everything_and_rollback_takes_it_back(platform: Platform, churn: str, models: Models) -> None:
    platform.done("promote", churn, "2")
    assert traffic(platform, churn) == {"2": 100}
    until(lambda: served(platform, churn, models, 20) == {"2": 20}, what="the promotion reaching the gateway")
    platform.done("rollback", churn)
    assert traffic(platform, churn) == {"1": 80, "2": 20}
    platform.done("rollback", churn)
    assert traffic(platform, churn) == {"2": 100}, "twice toggles"


def test_every_change_is_in_the_history(platform: Platform, churn: str) -> None:
    history = platform.api("GET", f"/api/v1/endpoints/{churn}/history").json()["history"]
    actions = {entry["revision"]: entry["action"] for entry in history}
    assert [actions[revision] for revision in sorted(actions)][:5] == [
        "deploy", "traffic", "promote", "rollback", "rollback"
    ]  # fmt: skip
    restored = [entry["restores"] for entry in history if entry["action"] == "rollback"]
    assert all(revision in actions for revision in restored)


def test_scale_counts_per_version(platform: Platform, churn: str) -> None:
    platform.done("scale", churn, "--replicas", "1")

    def settled() -> bool:
        ready = {v["version"]: v["replicas"]["ready"] for v in platform.endpoint(churn)["variants"] if v["weight"]}
        return ready == {"2": 1}

    until(settled, what="one replica of the version in traffic")
    assert platform.predict(churn, [0.0] * 30).status_code == 200


def test_status_endpoints_logs_and_jobs_speak_of_it(platform: Platform, churn: str) -> None:
    status = platform.done("status")
    assert churn in [endpoint["name"] for endpoint in status["endpoints"]]
    assert all(gateway["status"] == "ready" for gateway in status["gateways"])
    assert churn in platform.cli("endpoints").out
    assert churn in platform.cli("jobs").out
    assert platform.cli("logs", churn).code == 0
    assert platform.cli("models").code == 0


def test_what_is_in_use_cannot_be_removed_and_what_is_not_can(platform: Platform, churn: str) -> None:
    assert platform.failed("models", "delete", churn, "--yes")["code"] == "in_use"
    assert platform.api("DELETE", f"/api/v1/models/{churn}/versions/2").status_code == 409
    platform.done("delete", churn, "--yes")
    until(lambda: platform.predict(churn, [0.0] * 30).status_code == 404, what="the endpoint gone from the gateway")
    assert platform.api("GET", f"/api/v1/endpoints/{churn}").status_code == 404
    platform.done("models", "delete", churn, "--yes")
    assert platform.api("GET", f"/api/v1/models/{churn}").status_code == 404
