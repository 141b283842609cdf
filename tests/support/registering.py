"""Registers through the services as the API does, and waits for the job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from support.control import ME
from support.wait import until
from tidegate.wire.rest import Gate, Job, RegisterRequest
from tidegate.wiring import Container


def upload(container: Container, path: Path) -> str:
    """Hand in a file."""
    sink = container.uploads.begin(None)
    sink.write(path.read_bytes())
    return sink.finish().id


def queue(container: Container, name: str, path: Path, **fields: Any) -> str:
    """Queue the registration of a model file; `gate` may name its data by `validation` (a path)."""
    validation = fields.pop("validation", None)
    request = RegisterRequest(upload=upload(container, path), filename=path.name, **fields)
    if validation is not None:
        gate = replace(request.gate, validation_upload=upload(container, validation), validation_filename="v.csv")
        request = replace(request, gate=gate)
    return container.jobs.register(name, request, ME).id


def finished(container: Container, job_id: str, timeout_s: float = 60) -> Job:
    """The job once it has ended."""
    until(lambda: container.jobs.get(job_id).finished_at is not None, timeout_s, what=f"the end of job {job_id}")
    return container.jobs.get(job_id)


def register(container: Container, name: str, path: Path, **fields: Any) -> Job:
    """Queue and wait."""
    return finished(container, queue(container, name, path, **fields))


def gate(**fields: Any) -> Gate:
    """A gate on the column `y`."""
    return Gate(target="y", **fields)
