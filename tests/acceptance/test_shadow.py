"""A version shadows an endpoint on a running platform: compared, never answering, and gone once it gets traffic."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
from sklearn.tree import DecisionTreeClassifier

from support.platform import Platform
from support.wait import until

ROWS = np.arange(12, dtype=float).reshape(-1, 1)


def registered(platform: Platform, folder: Path, at: float, columns: int = 1) -> str:
    """A version whose answer is 1 from `at` on."""
    rows = np.repeat(ROWS, columns, axis=1)
    file = folder / f"step-{at:g}-{columns}.joblib"
    joblib.dump(DecisionTreeClassifier().fit(rows, (ROWS[:, 0] >= at).astype(int)), file)
    gate = ("--name", "listened", "--allow-pickle", "--no-accelerate")
    found: str = platform.done("register", str(file), *gate)["version"]
    return found


def test_a_shadow_from_its_beginning_to_its_promotion(platform: Platform, tmp_path: Path) -> None:
    first, second = registered(platform, tmp_path, 6), registered(platform, tmp_path, 4)
    wide = registered(platform, tmp_path, 5, columns=2)
    platform.done("deploy", f"listened:{first}")

    differs = platform.failed("shadow", "listened", wide, "--share", "20")
    assert (differs["code"], "has shape [-1, 2]" in differs["error"]) == ("signature_differs", True), differs
    assert platform.failed("shadow", "listened", first)["code"] == "conflict"
    assert platform.failed("shadow", "listened", "99")["code"] == "unknown_version"
    assert platform.cli("shadow", "listened", second, "--share", "101").code == 2
    assert platform.failed("shadow", "listened")["code"] == "no_shadow"

    begun = platform.done("shadow", "listened", second, "--share", "100")
    assert (begun["version"], begun["share"], begun["pairs"], begun["agreement"]) == (second, 100.0, 0, None)
    shown = until(lambda: _status(platform, "ready"), what="the shadow's replica")
    assert (shown["status"], shown["traffic"]) == ("ready", {first: 100})
    until(lambda: _hears(platform), what="the gateway to copy")

    labels = []
    for n in range(12):
        answer = platform.predict("listened", [float(n)], user_id=f"user-{n}").json()
        assert (answer["model_version"], answer["prediction"]) == (first, [int(n >= 6)])
        labels.append({"id": answer["id"], "label": int(n >= 4)})

    def compared(pairs: int) -> Any:
        found = platform.done("shadow", "listened")
        return found if found["pairs"] >= pairs else None

    found = until(lambda: compared(13), what="all pairs")
    pairs = found["pairs"]
    assert found["agreement"] == (pairs - 2) / pairs
    assert found["difference"] > 0
    assert found["latency_p95_ms"] >= found["latency_p50_ms"] > 0
    assert found["live_p50_ms"] > 0
    assert (found["failures"], found["paired"]) == (0, None)

    assert platform.ask("/feedback", labels).status_code == 202
    paired = until(lambda: compared(13)["paired"], what="labelled pairs")
    assert {name: paired[name] for name in ("units", "both_right", "only_live", "only_shadow", "both_wrong")} == {
        "units": 12,
        "both_right": 10,
        "only_live": 0,
        "only_shadow": 2,
        "both_wrong": 0,
    }
    assert (paired["significant"], paired["winner"]) == (False, None)
    text = platform.cli("shadow", "listened").out
    assert "shadow alone 2" in text
    assert max(map(len, text.splitlines())) <= 80

    refused = platform.failed("models", "delete", f"listened:{second}", "--yes")
    assert refused["code"] == "in_use"
    platform.done("promote", "listened", second)
    assert platform.done("status", "listened")["shadow"] is None
    assert platform.failed("shadow", "listened")["code"] == "no_shadow"
    (promoted,) = [one for one in platform.done("history", "listened")["history"] if one["action"] == "promote"]
    assert f"ends the shadow of version {second}" in promoted["note"]


def test_the_shadows_replica_dies_under_load_and_no_request_fails(platform: Platform, tmp_path: Path) -> None:
    first, second = registered(platform, tmp_path, 7), registered(platform, tmp_path, 3)
    platform.done("deploy", f"listened:{first}", "--endpoint", "mourned")
    before = platform.replica_pids()
    platform.done("shadow", "mourned", second, "--share", "100")
    until(lambda: _status(platform, "ready", "mourned"), what="the shadow's replica")
    (victim,) = platform.replica_pids() - before
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            statuses.append(platform.predict("mourned", [1.0]).status_code)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for one in asking:
        one.start()
    try:
        until(lambda: platform.done("shadow", "mourned")["pairs"] > 20, what="copies")
        psutil.Process(victim).kill()
        until(lambda: platform.endpoint("mourned")["shadow"]["status"] != "ready", what="the loss to be seen")
        assert platform.endpoint("mourned")["status"] == "ready"
        until(lambda: _status(platform, "ready", "mourned"), what="another replica of the shadow")
    finally:
        stop.set()
        for one in asking:
            one.join()
    assert set(statuses) == {200}
    platform.done("shadow", "mourned", "--off")
    assert platform.done("status", "mourned")["shadow"] is None


def _status(platform: Platform, wanted: str, endpoint: str = "listened") -> Any:
    found = platform.endpoint(endpoint)
    return found if found["shadow"]["status"] == wanted else None


def _hears(platform: Platform) -> bool:
    platform.predict("listened", [0.0])
    return bool(platform.done("shadow", "listened")["pairs"])
