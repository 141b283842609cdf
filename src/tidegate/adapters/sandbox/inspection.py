"""Inspects a model in a process of its own, with a deadline. Called by jobs; never loads a model itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tidegate import clock
from tidegate.adapters.sandbox.confinement import SandboxNeeds, confined, take_back, user_of_job
from tidegate.adapters.sandbox.left_behind import read_left
from tidegate.errors import ModelCrashed, ModelLoadFailed, ModelTimedOut, TidegateError
from tidegate.errors.codes import by_code
from tidegate.system.child_env import inherited_env
from tidegate.system.exhaustion import exhausted

STDERR_LINES_MAX = 40
LINE_CHARS_MAX = 2000
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
FORMS = ("trees-float32", "trees-float64", "dense-float64", "skl2onnx-float32", "skl2onnx-float64", "torch-onnx")
"""What `tidegate.runtimes.accelerated` makes: the process that says which one is kept has run the model's code."""
_READERS_WAIT_S = 2.0

Progress = Callable[[float, str], None]
LOOK_S = 1.0


def _silent(_progress: float, _message: str) -> None:
    return


def _unasked() -> None:
    return


@dataclass(frozen=True)
class Watched:
    """Who follows what a process does: `on_progress` is told, and `look` called each second. What either raises that is
    no `TidegateError` ends the process, and is raised.
    """

    on_progress: Progress = _silent
    look: Callable[[], None] = _unasked


UNWATCHED = Watched()


@dataclass(frozen=True)
class ValidationRequest:
    """Data to score the model on. `filename` is the file's own name; see `runtimes.inspection.gate` for the metrics.

    Without `scored` the rows are predicted alone, and no `target` is needed ("").
    """

    path: Path
    filename: str
    target: str
    metric: str | None = None
    min_score: float | None = None
    scored: bool = True


@dataclass(frozen=True)
class InspectionRequest:
    """A package to inspect. `python` is the interpreter of its own environment; None: this process's.

    `rows_file`: where the validation's rows and the model's answers are kept, in the scratch folder; read it with
    `adapters.sandbox.kept_rows`.
    """

    package_dir: Path
    allow_pickle: bool = False
    validation: ValidationRequest | None = None
    python: Path | None = None
    device: str | None = None
    rows_file: Path | None = None


@dataclass(frozen=True)
class AccelerationRequest:
    """A package that passed its inspection. The form kept is written to the new folder `into`; `asked`: any kind.

    `device` is where the version's replicas run it.
    """

    package_dir: Path
    into: Path
    signature: dict[str, Any]
    asked: bool = False
    allow_pickle: bool = False
    validation: ValidationRequest | None = None
    device: str | None = None


def run_inspection(
    request: InspectionRequest, *, timeout_s: float, scratch_dir: Path, watched: Watched = UNWATCHED
) -> dict[str, Any]:
    """Inspect a package in a subprocess that ends, with all it started, within `timeout_s` seconds.

    Returns the result document (see `tidegate.runtimes.inspection`). Raises the error that the inspection reported,
    `ModelTimedOut` at the deadline, or `ModelCrashed` when the process died; and what `watched` raises, once the
    process has ended. `scratch_dir` is the caller's to remove.
    """
    python = str(request.python or sys.executable)
    environments = () if request.python is None else (request.python.parents[2],)
    read = _read(request.package_dir, request.validation)
    job = _Job("tidegate.runtimes.inspect", asdict(request), timeout_s, scratch_dir, read, python, environments)
    return _run(job, watched)


@dataclass(frozen=True)
class _Job:
    """A module to run on a request, and what it may take."""

    module: str
    request: dict[str, Any]
    timeout_s: float
    scratch_dir: Path
    read: tuple[Path, ...] = ()
    python: str = sys.executable
    environments: tuple[Path, ...] = ()


def _run(job: _Job, watched: Watched) -> dict[str, Any]:
    timeout_s, scratch_dir = job.timeout_s, job.scratch_dir
    request_file, result_file = scratch_dir / "request.json", scratch_dir / "result.json"
    for file in (request_file, result_file):  # of an earlier process, which may have left anything
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        file.unlink(missing_ok=True)
    with request_file.open("x", encoding="utf-8") as request:
        json.dump({**job.request, "timeout_s": timeout_s}, request, default=str)
    watch = _Watch(watched)
    with user_of_job(scratch_dir.name) as uid:
        try:
            process = _start(job, request_file, result_file, uid)
        except OSError as error:
            raise exhausted(error, spawning=True) or error from error
        try:
            exit_code = watch.until_end(process, timeout_s)
        finally:
            _kill_group(process)
    watch.join()
    if exit_code is None:
        raise ModelTimedOut(
            f"the model did not load and answer within {timeout_s:g} s (it was busy with: {watch.stage}): "
            "give it more time, or find out what it waits for",
            timeout_s=timeout_s,
            stage=watch.stage,
            log=watch.log(),
        )
    return _result(result_file, exit_code, watch)


def run_acceleration(
    request: AccelerationRequest, *, timeout_s: float, scratch_dir: Path, watched: Watched = UNWATCHED
) -> dict[str, Any]:
    """Try faster forms of a model in a subprocess; the record of what was tried, `kept` None where none is.

    Whatever goes wrong is in the record, as the reason to serve the original: only what `watched` raises ends it.
    """
    read = _read(request.package_dir, request.validation)
    job = _Job("tidegate.runtimes.accelerate", asdict(request), timeout_s, scratch_dir, read)
    try:
        record = _run(job, watched)
        if record.setdefault("kept", None) not in (None, *FORMS):
            raise ModelLoadFailed("the model's code named a form that there is none of")
        take_back(request.into)
    except (TidegateError, OSError) as error:
        shutil.rmtree(request.into, ignore_errors=True)
        why = error.message if isinstance(error, TidegateError) else str(error)
        return {"kept": None, "state": "failed", "reason": f"trying ended early: {why}"}
    return {**{key: value for key, value in record.items() if key != "ok"}, "state": "done"}


def _read(package_dir: Path, validation: ValidationRequest | None) -> tuple[Path, ...]:
    return (package_dir,) if validation is None else (package_dir, validation.path)


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that looks like a secret, and with few threads: the model's code reads it."""
    few_threads = dict.fromkeys(_THREAD_LIMITS, "1")
    return {**inherited_env(env), **few_threads, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class _Watch:
    """Reads what the process says, so that it never blocks on a full pipe, and keeps the last of it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._stop: Exception | None = None
        self._lines: deque[str] = deque(maxlen=STDERR_LINES_MAX)
        self._threads: list[threading.Thread] = []
        self.stage = "starting"

    def until_end(self, process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
        """The exit code; None when the deadline came first. Raises what its watcher raised."""
        deadline_s = clock.monotonic() + timeout_s
        for read, pipe in ((self._read_progress, process.stdout), (self._read_log, process.stderr)):
            thread = threading.Thread(target=read, args=(pipe,), daemon=True)
            thread.start()
            self._threads.append(thread)
        while (left_s := deadline_s - clock.monotonic()) > 0:
            try:
                return process.wait(min(left_s, LOOK_S))
            except subprocess.TimeoutExpired:
                self._look()
        return None

    def _look(self) -> None:
        if self._stop is not None:
            raise self._stop
        with suppress(TidegateError):  # it cannot be told now
            self._watched.look()

    def join(self) -> None:
        """Let the readers finish; a stray child that holds a pipe open cannot keep us."""
        for thread in self._threads:
            thread.join(_READERS_WAIT_S)

    def log(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._lines)

    def _read_progress(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(LINE_CHARS_MAX):
                with suppress(ValueError, KeyError, TypeError):
                    said = json.loads(line)
                    self.stage = str(said["message"])
                    self._tell(float(said["progress"]))

    def _tell(self, progress: float) -> None:
        """In the reader's thread: what is raised here is raised where the process is waited for."""
        if self._stop is None:
            try:
                self._watched.on_progress(progress, self.stage)
            except Exception as stop:
                self._stop = stop

    def _read_log(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(LINE_CHARS_MAX):
                self._lines.append(line.decode(errors="replace").rstrip())


def _start(job: _Job, request_file: Path, result_file: Path, uid: int | None) -> subprocess.Popen[bytes]:
    # -P: the folder it starts in is no place to import from.
    plain = [job.python, "-P", "-m", job.module, str(request_file), str(result_file)]
    needs = SandboxNeeds(job.scratch_dir.name, (*job.read, request_file), (job.scratch_dir,), job.environments, uid=uid)
    argv, env = confined(plain, clean_environment(os.environ), needs)
    return subprocess.Popen(
        argv,
        cwd=job.scratch_dir,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _result(result_file: Path, exit_code: int, watch: _Watch) -> dict[str, Any]:
    try:
        result = json.loads(read_left(result_file))
        if result.get("ok"):
            return dict(result)
        error = result["error"]
        told = by_code(error["code"])(str(error["error"]), **error.get("details", {}))
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as failure:
        if (here := exhausted(failure)) is not None:
            raise here from failure
        raise _crash(exit_code, watch) from None
    raise told


def _crash(exit_code: int, watch: _Watch) -> ModelLoadFailed:
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        how = f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    else:
        how = f"ended itself with exit code {exit_code}"
    last = " | ".join(line for line in watch.log()[-3:] if line)
    said = f". Its last words: {last}" if last else ""
    return ModelCrashed(
        f"the process that loaded the model {how} while {watch.stage}{said}",
        exit_code=exit_code,
        stage=watch.stage,
        log=watch.log(),
    )
