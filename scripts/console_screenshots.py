"""Pictures of every page of the console, in both themes and on a narrow screen, with real data behind them.

`make screenshots` takes them into `build/screenshots`. It starts a platform of its own, trains and deploys models,
sends traffic for a while (some of which fails), and ends all of it. `--docs` writes those of the docs too.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import urllib3
from playwright.sync_api import Browser, sync_playwright
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

ROOT = Path(__file__).resolve().parent.parent
TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
TRAFFIC_S = 150.0
ROUNDS = ((0.0, 0.03), (0.0, 0.03), (0.0, 0.03), (0.5, 0.1), (1.0, 0.2), (1.5, 0.3))
"""By how much customers get older (in standard deviations), and of how many the prediction is wrong, round by round."""
ROUND_ROWS = 400
WIDE, NARROW, HEIGHT = 1280, 360, 900
THEMES = ("light", "dark")

PAGES = {
    "overview": "/",
    "endpoint": "/endpoints/churn",
    "endpoint-logs": "/endpoints/churn?logs=follow",
    "endpoint-failing": "/endpoints/fraud",
    "predicted": "/endpoints/churn",
    "monitoring": "/endpoints/churn/monitoring",
    "monitoring-rows": "/endpoints/churn/monitoring?rows=newest",
    "experiments": "/endpoints/wine/experiments",
    "experiment": "/endpoints/wine/experiments/shelf",
    "experiment-draft": "/endpoints/wine/experiments/next",
    "canary": "/endpoints/fraud/canary",
    "shadow": "/endpoints/wine/shadow",
    "alerts": "/alerts",
    "alert-rules": "/endpoints/churn/alert-rules",
    "deploy": "/deploy",
    "models": "/models",
    "model": "/models/churn",
    "version": "/models/churn/versions/3",
    "jobs": "/jobs",
    "not-found": "/endpoints/nowhere",
    "log-in": "/",
}
"""Names of pictures and the pages they are of."""
OF_THE_DOCS = {
    "overview-light-1280": ("console-overview", 620),
    "predicted-light-1280": ("console-endpoint", 1000),
    "monitoring-light-1280": ("console-monitoring", 1000),
    "version-light-1280": ("console-version", 900),
    "experiment-light-1280": ("console-experiment", 1000),
    "canary-light-1280": ("console-canary", 1000),
}
"""Which pictures the documentation has, under what names, and how much of their height."""
CHECK = '''"""Refuses amounts that cannot be, as a careless feature step does: by failing."""


def check(rows):
    if (rows[:, 0] < 0).any():
        raise RuntimeError("amount below 0")
    return rows
'''


def main() -> int:
    """Everything, from training to the last picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "screenshots", help="where the pictures go")
    parser.add_argument("--docs", action="store_true", help="write those of the documentation too, to docs/pictures")
    parser.add_argument("--traffic-s", type=float, default=TRAFFIC_S, help="how long traffic is sent before")
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tidegate-screenshots-"))
    try:
        rows = train(folder)
        with platform(folder) as where, traffic(where, rows):
            fill(where, folder)
            watched(where, rows["churn"])
            ended = time.monotonic() + asked.traffic_s  # plots of five minutes need some of them
            decided(where, folder, rows["wine"], ended)
            taken = take(where, asked.into, ROOT / "docs" / "pictures" if asked.docs else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for path in taken:
        print(path)
    return 0


class Where:
    """A running platform, by its command line."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def run(self, *args: str, may_fail: bool = False) -> str:
        """What a command printed."""
        argv = [TIDEGATE, *args, "--data-dir", str(self.data_dir)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode and not may_fail:
            raise SystemExit(f"{' '.join(argv)}: {done.stderr}")
        return done.stdout

    def url(self, of: str) -> str:
        """`url` or `gateway_url`, as the control plane has written it."""
        return str(json.loads((self.data_dir / "control.json").read_text())[of])


@contextmanager
def platform(folder: Path) -> Iterator[Where]:
    """One of its own, on the ports that it is told to use by nobody else."""
    import socket

    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        for one in (a, b, c):
            one.bind(("127.0.0.1", 0))
        ports = [str(one.getsockname()[1]) for one in (a, b, c)]
    where = Where(folder / "data")
    where.run("up", "--detach", "--port", ports[0], "--grpc-port", ports[1], "--control-port", ports[2])
    try:
        yield where
    finally:
        where.run("down", may_fail=True)


def train(folder: Path) -> dict[str, list[Any]]:
    """Models as files in the folder; rows for each endpoint."""
    cancer, ill = load_breast_cancer(return_X_y=True, as_frame=True)
    columns = list(cancer.columns[:6])
    renamed = dict(
        zip(columns, ["age", "tenure", "monthly_charge", "total_charge", "calls", "complaints"], strict=True)
    )
    table = cancer[columns].rename(columns=renamed)
    for number, strength in enumerate((0.05, 1.0, 20.0), 1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000)).fit(table, ill)
        joblib.dump(model, folder / f"churn{number}.joblib")
    table.head(300).assign(left=ill.head(300)).to_csv(folder / "churn.csv", index=False)
    wine, kind = load_wine(return_X_y=True)
    for name, seed in (("wine", 0), ("wine2", 1), ("wine3", 2)):
        joblib.dump(RandomForestClassifier(20, random_state=seed).fit(wine, kind), folder / f"{name}.joblib")
    code = folder / "code"
    code.mkdir()
    (code / "fraud_features.py").write_text(CHECK)
    sys.path.insert(0, str(code))
    import fraud_features  # type: ignore[import-not-found] # the module that was just written

    steps = FunctionTransformer(fraud_features.check), StandardScaler(), LogisticRegression(max_iter=3000)
    amounts = table[["monthly_charge", "total_charge"]].to_numpy()
    joblib.dump(make_pipeline(*steps).fit(amounts, ill), folder / "fraud.joblib")
    joblib.dump(make_pipeline(*steps).fit(amounts[:400], ill[:400]), folder / "fraud2.joblib")
    (folder / "notes.joblib").write_text("These are notes, and no model.\n" * 20)
    bad = [[-1.0, 10.0]]
    return {
        "churn": [[row] for row in table.head(50).to_dict(orient="records")],
        "wine": [[row] for row in wine[:20].tolist()],
        "fraud": [[row] for row in amounts[:20].tolist()] + [bad],
    }


def fill(where: Where, folder: Path) -> None:
    """Versions, endpoints and a history, made by the same commands as anybody's."""
    grant = "--allow-pickle"
    data = ["--validation-data", str(folder / "churn.csv"), "--target", "left"]
    for number in (1, 2, 3):
        label = ["--label", f"v1.{number}.0"]
        where.run("register", str(folder / f"churn{number}.joblib"), "--name", "churn", grant, *label, *data)
    where.run("deploy", "churn:1", "--replicas", "2")
    where.run("deploy", str(folder / "fraud.joblib"), "--name", "fraud", grant, "--code", str(folder / "code"))
    where.run("deploy", str(folder / "wine.joblib"), "--name", "wine", grant)
    where.run("register", str(folder / "notes.joblib"), "--name", "notes", grant, may_fail=True)
    where.run("promote", "churn", "2")
    where.run("rollback", "churn")
    where.run("traffic", "churn", "1=90", "2=10")


def watched(where: Where, rows: list[Any]) -> None:
    """Customers who get older, labels that come for most of them, and monitors that look after each round."""
    where.run("notifiers", "add", "ops", "--webhook", "http://127.0.0.1:9/hook")
    where.run("monitor", "churn", "--every", "1h")  # rounds look by themselves
    gateway, pool = where.url("gateway_url"), urllib3.PoolManager(timeout=5.0, retries=False)
    chance = random.Random(8)  # noqa: S311 - the same pictures each time
    for shift, wrong in ROUNDS:
        labels = []
        for number in range(ROUND_ROWS):
            (row,) = rows[number % len(rows)]
            older = {**row, "age": row["age"] + shift * 3.5}
            said = pool.request("POST", f"{gateway}/predict/churn", json={"features": [older]}).json()
            label = said["prediction"][0]
            if chance.random() < 0.8:
                labels.append({"id": said["id"], "label": 1 - label if chance.random() < wrong else label})
        pool.request("POST", f"{gateway}/feedback", json=labels)
        where.run("monitor", "churn", "--now")
    alert = json.loads(where.run("alerts", "--json"))["alerts"][-1]
    where.run("alerts", "ack", alert["id"])


def decided(where: Where, folder: Path, rows: list[Any], ended: float) -> None:
    """An experiment whose treatment sells more, a draft, a shadow, and a canary on its way; until `ended`."""
    for number in (2, 3):
        where.run("register", str(folder / f"wine{number}.joblib"), "--name", "wine", "--allow-pickle")
    metric, rails = "bought:increase:proportion", ("--guardrail", "errors:margin=abs:0.01")
    kept = ("--max-days", "7", *rails, "--guardrail", "latency_p95:margin=0.5")
    arms = ("--control", "1", "--treatment", "2", "--metric", metric)
    where.run("experiment", "create", "wine", "--name", "shelf", *arms, *kept, "--start")
    where.run("shadow", "wine", "3", "--share", "50")
    fraud = str(folder / "fraud2.joblib"), "--name", "fraud", "--allow-pickle", "--code", str(folder / "code")
    where.run("register", *fraud)
    where.run("deploy", "fraud:2", "--canary", "20,50,100", "--every", "60s")
    gateway, pool = where.url("gateway_url"), urllib3.PoolManager(timeout=5.0, retries=False)
    chance, unit = random.Random(9), 0  # noqa: S311 - the same pictures each time
    while time.monotonic() < ended:
        events = []
        for _ in range(200):
            unit += 1
            body = {"features": rows[unit % len(rows)], "user_id": f"visitor-{unit}"}
            said = pool.request("POST", f"{gateway}/predict/wine", json=body)
            if said.status == 200:
                better = said.headers.get("X-Tidegate-Variant") == "treatment"
                bought = float(chance.random() < (0.5 if better else 0.3))
                events.append({"key": f"visitor-{unit}", "endpoint": "wine", "metrics": {"bought": bought}})
        pool.request("POST", f"{gateway}/feedback", json=events)
    where.run("experiment", "create", "wine", "--name", "next", *arms, *kept)


@contextmanager
def traffic(where: Where, rows: dict[str, list[Any]]) -> Iterator[None]:
    """A client for each endpoint, until the end; what the gateway refuses meanwhile is part of it."""
    ended, pool = threading.Event(), urllib3.PoolManager(timeout=5.0, retries=False)
    pauses = {"churn": 0.02, "wine": 0.15, "fraud": 0.06}

    def send(name: str) -> None:
        number = 0
        while not ended.wait(pauses[name]):
            number += 1
            body = {"features": rows[name][number % len(rows[name])]}
            url = f"{where.url('gateway_url')}/predict/{name}"
            try:
                pool.request("POST", url, json=body)
            except urllib3.exceptions.HTTPError:
                continue  # a gateway that is not there yet

    threads = [threading.Thread(target=send, args=(name,), daemon=True) for name in rows]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        ended.set()
        for one in threads:
            one.join(10)


def take(where: Where, into: Path, docs: Path | None) -> list[Path]:
    """Each page in each theme and width, logged in once by the link that the command prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("Chromium is needed: make services installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        entered = browser.new_context()
        page = entered.new_page()
        page.goto(where.run("console", "--print").strip())
        page.locator(".fresh.live").wait_for()
        state = entered.storage_state()
        ways = [(theme, width, into, docs) for theme in THEMES for width in (WIDE, NARROW)]
        taken = [path for way in ways for path in _of(browser, where, state, way)]
        browser.close()
    return taken


def _of(browser: Browser, where: Where, state: Any, how: tuple[str, int, Path, Path | None]) -> Iterator[Path]:
    theme, width, into, docs = how
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme=theme,  # type: ignore[arg-type] # one of THEMES
        storage_state=state,
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    for name, path in PAGES.items():
        if name == "log-in":
            context.clear_cookies()
        page.goto(where.url("url") + path)
        if page.evaluate("document.body.dataset.live !== undefined"):
            page.locator(".fresh.live").wait_for()
        if name == "predicted":
            page.get_by_role("button", name="Predict", exact=True).click()
            page.locator("#answer .answer").wait_for()
        path_of = into / f"{name}-{theme}-{width}.png"
        page.screenshot(path=path_of, full_page=True)
        beyond = page.evaluate("document.documentElement.scrollWidth")
        if beyond > width:
            raise SystemExit(f"{path} is {beyond} wide on a screen of {width}")
        yield path_of
        if docs is not None and path_of.stem in OF_THE_DOCS:
            stem, height = OF_THE_DOCS[path_of.stem]
            clip = {"x": 0, "y": 0, "width": width, "height": height}
            page.screenshot(path=docs / f"{stem}.png", full_page=True, clip=clip)  # type: ignore[arg-type]
            yield docs / f"{stem}.png"
    context.close()


if __name__ == "__main__":
    sys.exit(main())
