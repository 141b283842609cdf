"""Acceleration as users meet it: told at registration, served by the platform and by `serve`, switched off."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from support.models import Models
from support.platform import TIDEGATE, Platform, clean_env
from support.wait import free_ports, until

pytestmark = pytest.mark.slow


@contextmanager
def without_pickles(platform: Platform, digest: str) -> Iterator[None]:
    """Takes away what an accelerated version no longer needs, for a while: other versions share the artifact."""
    pickles = list((platform.data_dir / "artifacts" / digest).rglob("*.joblib"))
    assert pickles
    for path in pickles:
        path.rename(path.with_suffix(".away"))
    yield
    for path in pickles:
        path.with_suffix(".away").rename(path)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def check(answer: Any, models: Models) -> None:
    assert answer["prediction"] == models.says("forest", models.rows)
    np.testing.assert_allclose(answer["confidence"], models.is_sure("forest", models.rows), atol=1e-5)


def test_a_forest_is_accelerated_and_serves_on_without_its_pickle(platform: Platform, models: Models) -> None:
    version = platform.done("register", models.path("forest.joblib"), "--name", "swift", "--allow-pickle")
    assert version["accelerated"].startswith("trees-float")
    kept = next(e for e in version["acceleration"]["tried"] if e["form"] == version["accelerated"])
    assert kept["largest_difference"] <= 1e-5
    assert kept["speedup_1"] > 1
    shown = platform.cli("models", "show", f"swift:{version['version']}").out
    assert "fast form" in shown
    assert "times as fast for 1 row" in shown
    with without_pickles(platform, version["digest"]):
        platform.done("deploy", f"swift:{version['version']}")
        check(platform.predict("swift", models.rows.tolist()).json(), models)

        port = free_ports(1)[0]
        command = [str(TIDEGATE), "serve", f"swift:{version['version']}", "--port", str(port)]
        process = subprocess.Popen([*command, "--data-dir", str(platform.data_dir)], env=clean_env())
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(url), 60, what="an answer")
            check(httpx.post(f"{url}/predict", json={"features": models.rows.tolist()}, timeout=30).json(), models)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_an_endpoint_rolls_to_the_faster_form_without_losing_a_request(platform: Platform, models: Models) -> None:
    path = models.path("forest.joblib")
    platform.done("deploy", path, "--name", "rolls", "--allow-pickle", "--no-accelerate")
    before = platform.done("models", "show", "rolls:1")
    assert before["acceleration"]["state"] == "skipped"

    def replicas() -> set[int]:
        found = platform.processes("tidegate.server")
        return {process.pid for process in found if "/versions/rolls/" in " ".join(process.cmdline())}

    (old,) = replicas()
    job = platform.done("register", path, "--name", "rolls", "--allow-pickle", "--no-wait")
    assert job["state"] in ("queued", "running")
    codes: list[int] = []

    def rolled() -> bool:
        codes.append(platform.predict("rolls", models.rows[0].tolist()).status_code)
        return old not in replicas()

    until(rolled, 90, what="the replacement of the replica")
    assert set(codes) == {200}
    after = platform.done("models", "show", "rolls:1")
    assert after["accelerated"].startswith("trees-float")
    assert after["digest"] == before["digest"]
    assert len(replicas()) == 1
    with without_pickles(platform, after["digest"]):
        check(platform.predict("rolls", models.rows.tolist()).json(), models)
    told = platform.done("jobs", job["id"])
    assert (told["state"], told["result"]["created"]) == ("succeeded", False)
    assert any("can be deployed" in line for line in told["log"])


def test_it_can_be_switched_off(platform: Platform, models: Models) -> None:
    version = platform.done(
        "register", models.path("small.joblib"), "--name", "plain", "--allow-pickle", "--no-accelerate"
    )
    assert version["accelerated"] is None
    assert version["acceleration"]["reason"] == "switched off (--no-accelerate)"
    assert "switched off" in platform.cli("models", "show", "plain:1").out
    ran = platform.cli("deploy", "plain:1", "--no-accelerate")
    assert ran.code == 2
    assert "--no-accelerate goes with a path" in ran.said


def test_a_model_with_text_columns_is_accelerated_and_refuses_as_before(platform: Platform, models: Models) -> None:
    gate = ("--validation-data", models.path("table.csv"), "--target", "y", "--min-score", "0.5")
    version = platform.done("register", models.path("table.joblib"), "--name", "passengers", "--allow-pickle", *gate)
    assert version["accelerated"], version["acceleration"]
    assert version["acceleration"]["kind"] == "ColumnTransformer → LogisticRegression"
    assert version["acceleration"]["rows"]["refusals of the table"] > 0
    with without_pickles(platform, version["digest"]):
        platform.done("deploy", "passengers:1")
        records = models.table[:20].to_dict("records")
        assert platform.predict("passengers", records).json()["prediction"] == models.says("table", models.table[:20])
        refused = platform.predict("passengers", [records[0] | {"sex": "other"}])
    assert refused.status_code == 422
    assert "'sex' is 'other' in row 0" in refused.json()["error"]
