"""Draws `docs/pictures/endpoint-dashboard.svg`: runs a platform and a Prometheus for some minutes and asks each panel's
queries. Prints each query with its values. Needs what `make services` installs; starts and ends all it uses.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

HOUSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOUSE / "tests"))

from dashboards.drawing import Drawn, Line, svg  # noqa: E402 (after the path to the tests' servers)
from support.models import Models, train  # noqa: E402
from support.platform import Platform  # noqa: E402
from support.services.prometheus import Prometheus  # noqa: E402
from tidegate.observability import files  # noqa: E402

PICTURE = HOUSE / "docs" / "pictures" / "endpoint-dashboard.svg"
PHASE_S, STEP_S = 80.0, 4.0
ENDPOINT = "tumor"
CLIENTS, PAUSE_S = 3, 0.03


def main() -> int:
    """Phases of traffic: version 1, a tenth for version 2, half and half with a replica killed, all for version 2."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-draw-"))
    prometheus = Prometheus()
    platform = Platform(folder / "data", {"PROMETHEUS_URL": prometheus.url}, gateways=2, options=("--observability",))
    try:
        models = prepared(platform, prometheus, folder)
        began_s = time.time()
        under_load(platform, models)
        board = json.loads(files.dashboards()["endpoint.json"])
        drawn = [asked(panel, prometheus, began_s) for panel in board["panels"]]
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(svg(f"{board['title']} “{ENDPOINT}”", drawn))
        print(platform.cli("status", ENDPOINT, "--since", "1h").said)
    finally:
        platform.stop()
        prometheus.remove()
        shutil.rmtree(folder)
    return 0


def prepared(platform: Platform, prometheus: Prometheus, folder: Path) -> Models:
    """Two versions of a model, the first deployed, and Prometheus at work."""
    models = train(folder)
    platform.start()
    gate = ("--validation-data", models.path("validation.csv"), "--target", "y")
    for name in ("logistic", "forest"):
        model = models.path(f"{name}.joblib")
        platform.done("register", model, "--name", ENDPOINT, "--allow-pickle", "--no-accelerate", *gate, timeout_s=300)
    platform.done("deploy", f"{ENDPOINT}:1", timeout_s=300)
    prometheus.use(platform.data_dir / "observability" / files.PROMETHEUS)
    prometheus.start()
    return models


def under_load(platform: Platform, models: Models) -> None:
    """Clients that never pause for long, while the traffic shifts."""
    over = threading.Event()
    clients = [threading.Thread(target=client, args=(platform, models, over)) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    try:
        over.wait(PHASE_S)
        platform.done("traffic", ENDPOINT, "1=90", "2=10", timeout_s=300)
        over.wait(PHASE_S)
        platform.done("traffic", ENDPOINT, "1=50", "2=50", timeout_s=300)
        over.wait(PHASE_S / 2)
        platform.processes("tidegate.server")[0].kill()
        over.wait(PHASE_S / 2)
        platform.done("promote", ENDPOINT, "2", timeout_s=300)
        over.wait(PHASE_S)
    finally:
        over.set()
        for thread in clients:
            thread.join(30)


def client(platform: Platform, models: Models, over: threading.Event) -> None:
    """Rows one by one, now and then many, now and then one that is refused."""
    rows = models.rows.tolist()
    with httpx.Client(base_url=platform.gateway_url, timeout=30, trust_env=False) as http:
        for i in range(10**9):
            features = rows[:64] if i % 40 == 0 else [1.0] if i % 50 == 7 else rows[i % len(rows)]
            http.post(f"/predict/{ENDPOINT}", json={"features": features})
            if over.wait(PAUSE_S):
                return


def asked(panel: dict[str, Any], prometheus: Prometheus, began_s: float) -> Drawn:
    """A panel with what its queries give over the time of the load; also printed."""
    lines = []
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", "20s").replace("$endpoint", ENDPOINT)
        fields = {"query": query, "start": began_s, "end": time.time(), "step": STEP_S}
        answer = httpx.get(f"{prometheus.url}/api/v1/query_range", params=fields, timeout=30, trust_env=False).json()
        print(f"\n{panel['title']}: {query}")
        for series in answer["data"]["result"]:
            points = [(float(at), float(value)) for at, value in series["values"] if math.isfinite(float(value))]
            if points:
                lines.append(Line(named(target["legendFormat"], series["metric"]), points))
                print(
                    f"  {lines[-1].name}: " + " ".join(f"{value:.4g}" for _, value in points[:: len(points) // 8 + 1])
                )
    if panel["type"] == "heatmap":
        lines = sorted(lines, key=lambda line: float(line.name))[3:9]
    return Drawn(panel, lines)


def named(legend_format: str, labels: dict[str, str]) -> str:
    """A legend with its labels filled in."""
    for label, value in labels.items():
        legend_format = legend_format.replace("{{" + label + "}}", value)
    return legend_format


if __name__ == "__main__":
    sys.exit(main())
