"""A real Prometheus scrapes a real platform as `up --observability` says: counts, dashboards, `status --since`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import wait
from support.platform import Platform
from support.services.prometheus import Prometheus, promtool
from tidegate.observability import files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FIRST, SECOND = 120, 60
TRIED = 40
"""Requests to a canary, half of them its own: what its guardrails say is no longer unknown."""
until = partial(wait.until, timeout_s=90.0)
"""Jobs, restarts and scrapes follow one another here: on a busy machine that takes its time."""
COUNTED = 'sum(model_requests_total{endpoint="churn"})'
VARIABLES = {
    "$__rate_interval": "2m",
    "$__range": "10m",
    "$endpoint": "churn",
    "$version": "(1|2)",
}


def sums(path: Path, factor: float) -> str:
    """A model that adds up a row of four numbers, times `factor`: small, so that this is about watching it."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((4, 1), factor, np.float32), "w")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, prometheus: Prometheus) -> Iterator[tuple[Platform, str]]:
    """Two gateways, an endpoint of two versions, a job that failed; and what `up` printed."""
    folder = tmp_path_factory.mktemp("watched")
    own = Platform(folder / "data", {"PROMETHEUS_URL": prometheus.url}, gateways=2, options=("--observability",))
    (folder / "checks.csv").write_text("a,b,c,d,total\n" + "".join(f"{i},1,2,3,{i + 6}\n" for i in range(9)))
    (folder / "poem.onnx").write_text("I am no model.\n")
    gate = ("--validation-data", str(folder / "checks.csv"), "--target", "total")
    try:
        ran = own.up()
        assert ran.code == 0, ran.said
        prometheus.use(own.data_dir / "observability" / files.PROMETHEUS)
        own.done("deploy", sums(folder / "one.onnx", 1), "--name", "churn", *gate)
        away = own.failed("status", "churn", "--since", "1h")
        assert (away["code"], prometheus.url in away["error"]) == ("metrics_unavailable", True)
        prometheus.start()
        own.done("register", sums(folder / "two.onnx", 2), "--name", "churn")
        own.failed("register", str(folder / "poem.onnx"), "--name", "poem")
        own.done("traffic", "churn", "1=70", "2=30")
        own.done("deploy", "churn:1", "--endpoint", "tried")  # a canary that ended, and one that runs
        own.done("deploy", "churn:2", "--endpoint", "tried", "--canary", "50,100")
        own.done("canary", "abort", "tried")
        own.done("deploy", "churn:2", "--endpoint", "tried", "--canary", "50,100", "--every", "1h")
        # Prometheus begins to scrape some seconds after its start: what is counted before that is older than it knows.
        until(lambda: prometheus.ask("tidegate_buffered_bytes"), what="the first scrape of a gateway")
        yield own, ran.out
    finally:
        own.stop()


def ask(platform: Platform, count: int) -> None:
    for i in range(count - 1):
        assert platform.predict("churn", [i, 1, 2, 3]).status_code == 200
    assert platform.predict("churn", [1.0]).status_code == 422  # refused before a version was chosen


def test_counts_are_right_over_gateways_their_death_and_restarts(
    watched: tuple[Platform, str], prometheus: Prometheus
) -> None:
    platform, _ = watched
    ask(platform, FIRST)
    until(lambda: prometheus.number(COUNTED) == FIRST, what="Prometheus has seen all of two gateways")
    assert len(platform.processes("tidegate.gateway")) == 2
    os.kill(platform.processes("tidegate.gateway")[0].pid, signal.SIGKILL)
    until(lambda: len(platform.processes("tidegate.gateway")) == 2, what="another gateway in its place")
    assert platform.stop().code == 0
    platform.start()
    ask(platform, SECOND)
    until(lambda: prometheus.number(COUNTED) == FIRST + SECOND, what="Prometheus has seen the rest")
    assert prometheus.number("max(resets(model_requests_total[10m]))") == 0
    refused = 'sum(model_requests_total{endpoint="churn", version="", code="422"})'
    assert prometheus.number(refused) == 2


def test_what_monitors_found_is_scraped(watched: tuple[Platform, str], prometheus: Prometheus) -> None:
    platform, _ = watched
    platform.done("monitor", "churn", "--now")
    until(lambda: prometheus.ask('model_feature_drift{endpoint="churn"}'), what="the drift of a column")


def panels() -> list[Any]:
    found = []
    for name, text in files.dashboards().items():
        for panel in json.loads(text)["panels"]:
            found += [pytest.param(panel, id=f"{Path(name).stem}-{panel['title']}")]
    return found


def query(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr
    return expr


def test_there_are_the_five_dashboards() -> None:
    assert set(files.dashboards()) == {
        f"{name}.json" for name in ("fleet", "endpoint", "version", "experiment", "jobs")
    }
    for text in files.dashboards().values():
        variables = {variable["name"] for variable in json.loads(text)["templating"]["list"]}
        assert {f"${name}" for name in variables - {"datasource"}} <= set(VARIABLES)


@pytest.mark.parametrize("panel", panels())
def test_every_query_of_a_panel_returns_data(
    watched: tuple[Platform, str], prometheus: Prometheus, panel: dict[str, Any]
) -> None:
    platform, _ = watched
    for target in panel["targets"]:
        expr = query(target["expr"])
        if "tidegate_guardrail_" in expr or "tidegate_rollouts_" in expr:
            expr = expr.replace('"churn"', '"tried"')
            for i in range(TRIED):
                assert platform.predict("tried", [i, 1, 2, 3]).status_code == 200
        found = until(lambda expr=expr: prometheus.ask(expr), what=expr)  # type: ignore[misc]
        assert any(sample["value"][1] != "NaN" for sample in found), expr


def test_what_variables_are_chosen_from_is_there(watched: tuple[Platform, str], prometheus: Prometheus) -> None:
    for text in files.dashboards().values():
        for variable in json.loads(text)["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = variable["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
                assert VARIABLES[f"${label}"] in ("churn", "(1|2)")
                found = {sample["metric"][label] for sample in prometheus.ask(query(metric))}
                assert found == ({"churn", "tried"} if label == "endpoint" else {"1", "2"})


def test_no_alert_fires_on_a_healthy_platform_but_for_the_failed_job(
    watched: tuple[Platform, str], prometheus: Prometheus
) -> None:
    until(lambda: prometheus.ask('ALERTS{alertstate="firing"}'), what="the alert of the failed job")
    firing = {sample["metric"]["alertname"] for sample in prometheus.ask('ALERTS{alertstate="firing"}')}
    assert firing == {"TidegateJobFailed"}


def test_status_tells_each_versions_performance(watched: tuple[Platform, str], prometheus: Prometheus) -> None:
    platform, _ = watched
    told = platform.done("status", "churn", "--since", "1h")
    by_version = {part["version"]: part["total"] for part in told["versions"]}
    assert told["total"]["requests"] == FIRST + SECOND
    assert by_version[""]["refused"] == told["total"]["refused"] == 2
    assert by_version["1"]["requests"] + by_version["2"]["requests"] == FIRST + SECOND - 2
    for version in ("1", "2"):
        figures = by_version[version]
        assert (figures["errors"], figures["error_ratio"]) == (0, 0.0)
        assert 0 < figures["p50_s"] <= figures["p95_s"] <= figures["p99_s"] < 30
        assert 0 < figures["busy"] < 1
        assert figures["quality"] is None, "nobody measured it: unknown, not 0"
    slots = [slot["figures"]["requests"] for slot in told["slots"]]
    assert len(slots) == 12
    assert sum(count for count in slots if count is not None) == FIRST + SECOND
    assert told["until"] - told["since"] < 3600, "Prometheus has not run for an hour"


def test_status_says_unknown_in_words(watched: tuple[Platform, str]) -> None:
    platform, _ = watched
    said = platform.cli("status", "churn", "--since", "24h").out
    assert "of the 24 h asked for, Prometheus knows" in said
    assert [line.split()[-1] for line in said.splitlines() if line.startswith(("1 ", "2 "))] == ["unknown"] * 2


def test_up_tells_urls_and_commands_and_writes_for_this_user_alone(
    watched: tuple[Platform, str], prometheus: Prometheus
) -> None:
    platform, said = watched
    folder = platform.data_dir / "observability"
    for line in (
        f"Prometheus  {prometheus.url}",
        f"prometheus --config.file={folder}/prometheus.yml",
        f"--web.listen-address=127.0.0.1:{prometheus.port}",
        "Grafana     http://127.0.0.1:3000/dashboards",
        f"--config={folder}/grafana/grafana.ini",
    ):
        assert line in said
    written = [path for path in folder.rglob("*") if path.is_file() and "for-tests" not in path.name]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert platform.token not in "".join(path.read_text() for path in written)
    config = str(folder / files.PROMETHEUS)
    done = subprocess.run(
        [promtool(), "check", "config", config], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_status_says_when_prometheus_is_gone(watched: tuple[Platform, str], prometheus: Prometheus) -> None:
    platform, _ = watched
    prometheus.stop()
    gone = platform.failed("status", "churn", "--since", "1h")
    assert gone["code"] == "metrics_unavailable"
    assert f"Prometheus at {prometheus.url} does not answer" in gone["error"]
    assert platform.cli("status", "churn").code == 0
