from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

from support.platform import Platform
from support.wait import until


def test_answers_that_are_no_numbers_are_counted_by_version_and_shown(platform: Platform, tmp_path: Path) -> None:
    model = LinearRegression().fit(np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 2.0]))
    model.coef_, model.intercept_ = np.array([1e300]), 0.0
    joblib.dump(model, tmp_path / "steep.joblib")
    gate = ("--name", "steep", "--allow-pickle", "--no-accelerate")
    platform.done("deploy", str(tmp_path / "steep.joblib"), *gate)

    def answered() -> Any:
        (variant,) = platform.done("status", "steep")["variants"]
        return variant["answered"]

    def known(requests: int) -> Any:
        seen = until(lambda: (now := answered()) and now["requests"] == requests and now, what=f"{requests} requests")
        return seen["failed"], seen["timed_out"], seen["non_finite"], seen["gateways_silent"]

    assert known(0) == (0, 0, 0, 0)
    assert platform.predict("steep", [2.0]).json()["prediction"] == [2e300]
    assert platform.predict("steep", [1e10]).json()["prediction"] == [None]
    busy = until(lambda: (now := platform.done("status", "steep")["load"]) and now["p95_s"] and now, what="the load")
    assert busy["requests_per_s"] > 0
    assert (busy["errors_per_s"], busy["gateways_silent"]) == (0, 0)
    assert "load of the last" in platform.cli("status", "steep").out
    assert known(2) == (0, 0, 1, 0)
    assert "1 (50.0%)" in platform.cli("status", "steep").out
    assert "50.0%" in platform.cli("endpoints").out
    (listed,) = [one for one in platform.done("status")["endpoints"] if one["name"] == "steep"]
    assert listed["variants"][0]["answered"]["non_finite"] == 1
