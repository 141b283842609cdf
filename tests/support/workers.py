"""Workers as their users start them, and models whose registration lasts until a test lets it end."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from support.control import ME
from support.met_by_models import met_at
from support.platform import TIDEGATE, Platform, clean_env
from support.registering import upload
from support.wait import until
from tidegate.wire.rest import RegisterRequest
from tidegate.wiring import Container

MODEL = """
import os
import time
from pathlib import Path


class Model:
    example = {{"x": 1.0}}

    def load(self, folder):
        with Path({begun!r}).open("a") as file:
            file.write("loads\\n")
        deadline = time.monotonic() + 300
        while not Path({go!r}).exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def predict(self, inputs):
        return [0.0 for _ in inputs.itertuples()]
"""


@dataclass(frozen=True)
class SlowModel:
    """A Python folder whose loading lasts until `let_go`."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> SlowModel:
        """Make it."""
        model = cls(folder)
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(MODEL.format(begun=str(model.begun), go=str(model.go)))
        model.begun.touch()
        model.begun.chmod(0o666)  # a confined model is another user
        for met in (model.begun, model.go):
            atexit.register(met.unlink, missing_ok=True)
        return model

    @property
    def begun(self) -> Path:
        """Where it writes that it began to load."""
        return met_at(self.folder.with_suffix(".begun"))

    @property
    def go(self) -> Path:
        """What it waits for."""
        return met_at(self.folder.with_suffix(".go"))

    @property
    def loads(self) -> int:
        """How often it began to load."""
        return len(self.begun.read_text().splitlines())

    def let_go(self) -> None:
        """Let it load to the end, now and from now on."""
        self.go.touch()


@dataclass
class Worker:
    """`tidegate worker` in a process group of its own, with a data directory of its own."""

    data_dir: Path
    env: dict[str, str]
    jobs: int = 2
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> Worker:
        """Return at once: it waits by itself for what it needs."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        argv = [str(TIDEGATE), "worker", "--data-dir", str(self.data_dir), "--jobs", str(self.jobs)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=clean_env(**self.env), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return self

    @property
    def _log(self) -> Path:
        return self.data_dir.with_suffix(".log")

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")

    def says(self, words: str, timeout_s: float = 60.0) -> None:
        """Wait for these words."""
        until(lambda: words in self.log, timeout_s, what=f"{words!r} of a worker that said: {self.log[-2000:]}")

    def send(self, signum: signal.Signals) -> None:
        """To the worker alone."""
        os.kill(self.process.pid, signum)

    def kill(self) -> None:
        """As the kernel would, when memory is short. What it started is left to itself, but ends here."""
        children: list[psutil.Process] = []
        with suppress(psutil.Error):  # it, or one of them, may end while it is looked at
            children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait(30)
        for child in children:
            with_grace(child)

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)


def with_grace(process: psutil.Process) -> None:
    """End a process that may be gone."""
    try:
        process.kill()
    except psutil.Error:
        return


@contextmanager
def workers_of(folder: Path, env: dict[str, str]) -> Iterator[Workers]:
    """Workers with the same settings; all are ended at the end."""
    made = Workers(folder, env)
    try:
        yield made
    finally:
        for worker in made.started:
            if worker.process.poll() is None:
                worker.send(signal.SIGCONT)
                worker.kill()


@dataclass
class Workers:
    """Starts them, and knows which it started."""

    folder: Path
    env: dict[str, str]
    started: list[Worker] = field(default_factory=list)

    def start(self, data_dir: Path | None = None, jobs: int = 2) -> Worker:
        """One more."""
        worker = Worker(data_dir or self.folder / f"worker-{len(self.started)}", self.env, jobs).start()
        self.started.append(worker)
        return worker


def queue_registration(platform: Platform, model: SlowModel, name: str) -> str:
    """The id of a job that registers it."""
    given = ("--name", name, "--allow-pickle", "--no-accelerate", "--no-wait")
    return str(platform.done("register", str(model.folder), *given)["id"])


def queue_in(container: Container, model: SlowModel) -> str:
    """The same through the services, under the folder's name."""
    archive = model.folder.with_suffix(".tar")
    with tarfile.open(archive, "w:") as tar:
        tar.add(model.folder / "model.py", "model.py")
    request = RegisterRequest(
        upload=upload(container, archive),
        filename=model.folder.name,
        archive=True,
        allow_pickle=True,
        accelerate=False,
    )
    return container.jobs.register(model.folder.name, request, ME).id
