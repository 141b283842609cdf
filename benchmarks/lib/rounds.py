"""Runs servers and asks them in turns: environments, starting, waiting, checking answers, and the median of rounds.

Servers that are compared closely run side by side and take turns, so that a slow spell of the machine touches all
alike.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sklearn

from lib import http, processes, wrk
from lib.contenders import CONTENDERS, ENVIRONMENTS, Contender, Server
from lib.models import ModelFiles
from lib.processes import BenchmarkFailed
from lib.tables import table

Figures = Mapping[str, wrk.Figures]

LOAD_CORE = 1
WARM_UP_S = 1


@dataclass(frozen=True)
class Plan:
    """How a run measures: its scratch folder, where environments are kept, rounds, and seconds of each."""

    folder: Path
    cache: Path
    rounds: int
    seconds: int
    connections: int
    peers: Sequence[str]


@dataclass(frozen=True)
class Ready:
    """A server that answers: where, and the requests it is asked."""

    name: str
    url: str
    lua: Path
    server: Server


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(text, file=sys.stderr, flush=True)


def python_of(environment: str, cache: Path) -> Path:
    """The Python of a peer's environment, made once, with this environment's scikit-learn; "" is this one."""
    if not environment:
        return Path(sys.executable)
    folder, packages = cache / "venvs" / environment, ENVIRONMENTS[environment]
    python, done = folder / "bin" / "python", folder / f".made-with-scikit-learn-{sklearn.__version__}-{len(packages)}"
    if not done.exists():
        say(f"Installing {environment} into {folder} (once) ...")
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        processes.run([*pip, *packages, f"scikit-learn=={sklearn.__version__}"], timeout_s=1800)
        done.touch()
    return python


def new_server(contender: Contender, model: ModelFiles, plan: Plan) -> Server:
    """A folder and ports of its own."""
    number = sum(1 for _ in plan.folder.glob(f"{contender.name}-[0-9]*"))
    folder = plan.folder / f"{contender.name}-{number}"
    folder.mkdir()
    return Server(model, folder, python_of(contender.environment, plan.cache))


@contextlib.contextmanager
def up(name: str, model: ModelFiles, plan: Plan) -> Iterator[Ready]:
    """Start a contender, wait for its first answer, and check a sample of its answers."""
    contender = CONTENDERS[name]
    server = new_server(contender, model, plan)
    bodies = [json.dumps(contender.form.body(row)).encode() for row in model.rows]
    with contender.serving(server) as url:
        wait(url, bodies[0], name, server)
        _check(contender, model, url, bodies)
        yield Ready(name, url, wrk.script(server.folder, "requests", bodies), server)


@contextlib.contextmanager
def all_up(names: Sequence[str], model: ModelFiles, plan: Plan) -> Iterator[list[Ready]]:
    """Several servers side by side."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(up(name, model, plan)) for name in names]


def wait(url: str, body: bytes, name: str, server: Server, timeout_s: float = 120.0) -> None:
    """Until the first row is answered."""
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        try:
            if http.post(url, body)[0] == 200:
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.1)
    said = server.log.read_text(errors="replace")[-2000:] if server.log.exists() else ""
    raise BenchmarkFailed(f"{name} did not answer in {timeout_s:.0f} s:\n{said}")


def _check(contender: Contender, model: ModelFiles, url: str, bodies: Sequence[bytes]) -> None:
    """A sample of answers must be the model's own (ONNX computes in 32 bits, hence the tolerance)."""
    for body, expected in zip(bodies, model.probabilities, strict=False):
        status, answer = http.post(url, body)
        if status != 200:
            raise BenchmarkFailed(f"{contender.name} answered {status}: {answer}")
        confidence = contender.form.confidence(answer)
        if confidence is not None and not math.isclose(confidence, max(expected), abs_tol=2e-4):
            raise BenchmarkFailed(f"{contender.name} is wrong: {answer}, and the model says {expected}")


def take_turns(servers: Sequence[Ready], plan: Plan, connections: int) -> dict[str, wrk.Figures]:
    """The median of the rounds for each server."""
    found: dict[str, list[wrk.Figures]] = {one.name: [] for one in servers}
    for _ in range(plan.rounds):
        for one in servers:
            wrk.load(one.url, one.lua, seconds=WARM_UP_S, connections=connections, core=LOAD_CORE)
            figures = wrk.load(one.url, one.lua, seconds=plan.seconds, connections=connections, core=LOAD_CORE)
            found[one.name].append(figures)
            say(f"  {one.name:<24}{connections:>4} connections {figures.requests_per_s:>9,.0f} requests/s")
    return {name: median(rounds) for name, rounds in found.items()}


def median(rounds: Sequence[wrk.Figures]) -> wrk.Figures:
    """Middle values; failures add up."""
    return wrk.Figures(
        requests_per_s=statistics.median(one.requests_per_s for one in rounds),
        p50_ms=statistics.median(one.p50_ms for one in rounds),
        p99_ms=statistics.median(one.p99_ms for one in rounds),
        failed=sum(one.failed for one in rounds),
    )


def figures_table(figures: Figures, notes: Mapping[str, str], ours: str = "tidegate") -> str:
    """A line a server, and how many times faster ours is."""
    head = ("server", "what", "requests/s", "p50 ms", "p99 ms", "failed", f"{ours} is")
    rows: list[tuple[Any, ...]] = [
        (name, notes.get(name, ""), one.requests_per_s, one.p50_ms, one.p99_ms, one.failed, _times(figures, ours, one))
        for name, one in figures.items()
    ]
    return table(head, rows)


def _times(figures: Figures, ours: str, one: wrk.Figures) -> str:
    if ours not in figures or not one.requests_per_s:
        return "-"
    return f"{figures[ours].requests_per_s / one.requests_per_s:.2f} x"


def show(title: str, figures: Figures, ours: str = "tidegate") -> None:
    """The table under its title."""
    notes = {name: one.note for name, one in CONTENDERS.items()}
    print(f"\n{title}\n\n{figures_table(figures, notes, ours)}", flush=True)
