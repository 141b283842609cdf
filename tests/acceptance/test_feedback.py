"""Labels from the command line and over HTTP find the predictions that they are about, seconds after both were made."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.models import Models
from support.platform import Platform
from support.wait import until
from tidegate import clock
from tidegate.capture.store import CaptureStore

pytestmark = pytest.mark.slow


def test_labels_find_their_predictions(platform: Platform, models: Models, tmp_path: Path) -> None:
    platform.done("deploy", models.path("logistic.joblib"), "--name", "labelled", "--allow-pickle")
    row = models.rows[0].tolist()
    since_s = clock.now()
    by_id = platform.predict("labelled", row).json()["id"]
    several = platform.predict("labelled", [row, row]).json()["id"]
    platform.predict("labelled", row, user_id="user-7")
    file = tmp_path / "labels.csv"
    file.write_text(f'request,y\n{by_id},1\n{several},"[0, 1]"\nunknown,1\n,1\n')
    ran = platform.cli("feedback", "labelled", "--file", str(file), "--id-column", "request", "--label-column", "y")
    assert (ran.code, ran.out) == (1, "3 events taken, 1 refused\n"), ran.said
    assert f"{file}, line 5: give 'id'" in ran.err
    answer = platform.ask("/feedback", {"key": "user-7", "endpoint": "labelled", "label": True})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    assert platform.failed("feedback", "nowhere", "--data", '{"id": "a", "label": 1}')["code"] == "unknown_endpoint"
    store = CaptureStore(platform.data_dir / "capture", platform.data_dir / "journal")

    def labels() -> dict[tuple[str, int], str | None]:
        found = store.labelled("labelled", since_s, clock.now() + 60, ["id", "key", "row", "label"]).to_pylist()
        return {(one["key"] or one["id"], one["row"]): one["label"] for one in found}

    expected = {(by_id, 0): "1", (several, 0): "0", (several, 1): "1", ("user-7", 0): "true"}
    until(lambda: labels() == expected, what=f"{expected} of {labels()}")
    platform.done("capture-settings", "labelled", "--selective-labels")
    assert platform.api("GET", "/api/v1/endpoints/labelled/monitor").json()["selective_labels"] is True
    assert "selective" in platform.cli("capture-settings", "labelled").out
    assert platform.done("monitor", "labelled", "--all-labels")["selective_labels"] is False
