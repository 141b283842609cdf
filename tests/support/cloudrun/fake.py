"""Cloud Run without Google: its API version 2 over TLS, operations, etags, revisions, traffic, and fronts.

Every instance of a revision is a real replica process (`instances.py`) behind a front (`front.py`); nothing here
answers a prediction. What a `PATCH` may say is held against Google's own description of its messages (`schema.py`).
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.cloudrun.front import Door, Fronts
from support.cloudrun.instances import Addresses, Image, Running
from support.cloudrun.rules import refusals
from support.cloudrun.tokens import TokenIssuer
from support.tls import Authority
from tidegate import clock

TICK_S = 0.02
SUCCEEDED, FAILED, PENDING = "CONDITION_SUCCEEDED", "CONDITION_FAILED", "CONDITION_PENDING"
DID_NOT_START = (
    "The user-provided container failed to start and listen on the port defined provided by the PORT=8000 environment "
    "variable within the allocated timeout. This can happen when the container port is misconfigured or if the timeout "
    "is too short. Logs for this revision might contain more information."
)


class Refusal(Exception):
    """An error of the API."""

    def __init__(self, code: int, status: str, message: str, reason: str = "") -> None:
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
        self.code = code
        self.body = {"error": {"code": code, "status": status, "message": message, "details": details}}
        super().__init__(message)


@dataclass
class FakeCloudRun:
    """One project. `images` are those in its registry; `start_timeout_s` bounds how long a start is waited for.

    `denied` are permissions that the caller lacks, `used` those that calls took, `throttled` how many calls get 429.
    Where `create_fails` says why, making a service is taken in and comes to nothing.
    """

    folder: Path
    project: str = "demo-project"
    region: str = "europe-west1"
    images: dict[str, Image] = field(default_factory=dict)
    unreadable_images: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    disabled: bool = False
    throttled: int = 0
    conflicts: int = 0
    deleted_meanwhile: bool = False
    quota: str = ""
    create_fails: str = ""
    start_timeout_s: float = 60.0
    issuer: TokenIssuer = field(default_factory=TokenIssuer)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    revisions: dict[str, dict[str, Running]] = field(default_factory=dict)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    doors: dict[str, Door] = field(default_factory=dict)
    secrets: dict[str, list[str]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.authority = Authority(self.folder / "authority")
        self._addresses, self._fronts = Addresses(), Fronts()
        self._ends: list[Running] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # -- for tests -----------------------------------------------------------------------------------------------------

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"

    def running(self, revision: str) -> Running:
        """A revision by its name."""
        with self.lock:
            return next(found[revision] for found in self.revisions.values() if revision in found)

    def processes(self) -> list[int]:
        """The pids of all instances that live."""
        with self.lock:
            every = [*self._ends, *(one for found in self.revisions.values() for one in found.values())]
            return [one.process.pid for running in every for one in running.instances if one.alive]

    def scale_to_zero(self, revision: str) -> None:
        """As Cloud Run does with a revision that nobody has called for a while."""
        with self.lock:
            self.running(revision).stop()

    def close(self) -> None:
        """End every process."""
        self._stopping.set()
        self._thread.join(10)
        with self.lock:
            every = [*self._ends, *(one for found in self.revisions.values() for one in found.values())]
        for running in every:
            for one in running.instances:
                one.kill()
        self._fronts.close()

    # -- the API -------------------------------------------------------------------------------------------------------

    def create(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            if name in self.services:
                raise Refusal(409, "ALREADY_EXISTS", f"Resource '{name}' already exists.")
            self._check(name, body, anew=True)
            if self.create_fails:
                failed = self._operation(done=True)
                failed["error"] = {"code": 7, "message": self.create_fails}
                return failed
            service = {**body, "name": f"{self.parent}/services/{name}", "uid": secrets.token_hex(8)}
            self.revisions[name] = {}
            self.services[name] = service
            service["uri"] = self._open_front(name, "")
            return self._taken(name, service)

    def update(self, name: str, body: dict[str, Any], mask: list[str]) -> dict[str, Any]:
        with self.lock:
            before = self._found(name)
            if self.deleted_meanwhile:
                self.deleted_meanwhile = False
                self.delete_service(name, "")
                self._found(name)
            if self.conflicts > 0:
                self.conflicts -= 1
                before["etag"] = _etag()
            if body.get("etag") and body["etag"] != before["etag"]:
                raise Refusal(
                    409, "ABORTED", f"Conflict for resource '{name}': version '{body['etag']}' was specified."
                )
            kept = ("name", "uid", "uri", "generation", "trafficStatuses", "latestCreatedRevision", "urls")
            own = {key: before[key] for key in kept if key in before}
            written = {key: value for key, value in body.items() if key != "etag"}
            if mask:
                stored = {key: value for key, value in before.items() if key in _writable()}
                written = stored | {key: written[key] for key in mask if key in written}
            anew = written.get("template") != before.get("template")
            self._check(name, written, anew=anew)
            self.services[name] = service = {**own, **written}
            return self._taken(name, service)

    def delete_service(self, name: str, etag: str) -> dict[str, Any]:
        with self.lock:
            service = self._found(name)
            if etag and etag != service["etag"]:
                raise Refusal(409, "ABORTED", f"Conflict for resource '{name}'.")
            self._retire(*self.revisions.pop(name).values())
            del self.services[name]
            self.doors = {at: door for at, door in self.doors.items() if at.partition("/")[0] != name}
            return self._operation(done=True)

    def delete_revision(self, name: str, revision: str) -> dict[str, Any]:
        with self.lock:
            service, found = self._found(name), self.revisions[name]
            if revision not in found:
                raise Refusal(404, "NOT_FOUND", f"Revision '{revision}' was not found.")
            used = [one.get("revision") for key in ("traffic", "trafficStatuses") for one in service.get(key) or []]
            if revision in used or service["latestCreatedRevision"].endswith(f"/{revision}"):
                raise Refusal(400, "FAILED_PRECONDITION", f"Revision '{revision}' is the latest one, or has traffic.")
            self._retire(found.pop(revision))
            return self._operation(done=True)

    def service(self, name: str) -> dict[str, Any]:
        with self.lock:
            copied: dict[str, Any] = json.loads(json.dumps(self._found(name)))
            return copied

    def list_services(self) -> list[dict[str, Any]]:
        with self.lock:
            return [self.service(name) for name in sorted(self.services)]

    def list_revisions(self, name: str) -> list[dict[str, Any]]:
        with self.lock:
            self._found(name)
            return [json.loads(json.dumps(one.revision)) for one in self.revisions[name].values()]

    def log_entries(self, service: str, revision: str, most: int) -> list[dict[str, Any]]:
        path = self.folder / f"{revision}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [{"textPayload": line, "resource": {"labels": {"service_name": service}}} for line in lines[::-1][:most]]

    def _found(self, name: str) -> dict[str, Any]:
        if name not in self.services:
            raise Refusal(404, "NOT_FOUND", f"Resource '{name}' of kind 'SERVICE' in region '{self.region}' not found.")
        return self.services[name]

    def _check(self, name: str, service: dict[str, Any], *, anew: bool) -> None:
        why = list(refusals(name, service, self.revisions.get(name, {}), anew=anew))
        if why:
            raise Refusal(400, "INVALID_ARGUMENT", "; ".join(why))
        if self.quota and anew:
            raise Refusal(429, "RESOURCE_EXHAUSTED", self.quota)

    def _taken(self, name: str, service: dict[str, Any]) -> dict[str, Any]:
        revision = str(service["template"]["revision"])
        made = self.revisions[name]
        if revision not in made:
            made[revision] = self._new_revision(name, revision, service["template"])
            service["latestCreatedRevision"] = f"{self.parent}/services/{name}/revisions/{revision}"
        service |= {"etag": _etag(), "reconciling": True, "generation": str(int(service.get("generation", 0)) + 1)}
        service["terminalCondition"] = {"type": "Ready", "state": "CONDITION_RECONCILING"}
        operation = self._operation(done=False)
        service["_operation"] = operation["name"]
        self.writes.append(name)
        return operation

    def _operation(self, *, done: bool) -> dict[str, Any]:
        name = f"{self.parent}/operations/{secrets.token_hex(8)}"
        self.operations[name] = {"name": name, "done": done}
        return self.operations[name]

    def _new_revision(self, service: str, name: str, template: dict[str, Any]) -> Running:
        kept = {key: value for key, value in template.items() if key != "revision"}
        revision = kept | {"name": f"{self.parent}/services/{service}/revisions/{name}", "service": service}
        revision["conditions"] = [{"type": "Ready", "state": PENDING}]
        image = self.images.get(kept["containers"][0]["image"])
        return Running(revision, image, self.folder / f"{name}.log", self.secrets)

    # -- what goes on by itself ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            with self.lock:
                for name in list(self.services):
                    self._reconcile(name)
                for running in self._ends:
                    running.instances = [one for one in running.instances if one.alive]
                self._ends = [one for one in self._ends if one.instances]

    def _reconcile(self, name: str) -> None:
        service, revisions = self.services[name], self.revisions[name]
        shown = {one.get("revision") for key in ("traffic", "trafficStatuses") for one in service.get(key) or []}
        for revision, running in revisions.items():
            state = running.revision["conditions"][0]["state"]
            if state == PENDING:
                self._progress(running)
            elif revision not in shown and running.instances:
                self._retire(running)
            elif state == SUCCEEDED:
                self._keep(running)
        if service.get("reconciling"):
            self._serve(name, service, revisions)

    def _serve(self, name: str, service: dict[str, Any], revisions: dict[str, Running]) -> None:
        """Bring traffic and tags in line with what was asked for, once all that they name is ready."""
        targets = {str(one["revision"]): revisions[str(one["revision"])] for one in service["traffic"]}
        latest = revisions[service["latestCreatedRevision"].rpartition("/")[2]]
        routes = [one.revision["conditions"][0] for one in targets.values()]
        every = [*routes, latest.revision["conditions"][0]]
        if all(one["state"] == SUCCEEDED for one in routes):  # whatever the latest revision is, when it has no traffic
            statuses = [dict(one) for one in service["traffic"]]
            for one in statuses:
                if one.get("tag"):
                    one["uri"] = self._open_front(name, one["tag"])
            service["trafficStatuses"] = statuses
        failed = next((one for one in every if one["state"] == FAILED), None)
        if failed is not None and all(one["state"] != PENDING for one in every):
            self._settled(service, FAILED, f"Revision is not ready and cannot serve traffic. {failed['message']}")
        elif all(one["state"] == SUCCEEDED for one in every):
            self._settled(service, SUCCEEDED, "")

    def _settled(self, service: dict[str, Any], state: str, message: str) -> None:
        service["terminalCondition"] = {"type": "Ready", "state": state} | ({"message": message} if message else {})
        service |= {"reconciling": False, "etag": _etag()}
        operation = self.operations[service.pop("_operation")]
        operation |= {"done": True} | ({"error": {"code": 9, "message": message}} if message else {})

    def _progress(self, running: Running) -> None:
        """A revision that is being made: pull its image, start its first instance, and see it answer."""
        image = str(running.container["image"])
        if image in self.unreadable_images:
            why = f"Cloud Run does not have permission to read the image {image}."
            self._conclude(running, why, reason="CONTAINER_PERMISSION_DENIED")
        elif running.image is None:
            self._conclude(running, f"Image '{image}' not found.", reason="CONTAINER_MISSING")
        elif not running.instances:
            running.started_at = clock.monotonic()
            running.start(self._addresses)
        elif not running.instances[0].alive:
            self._conclude(running, DID_NOT_START, revisionReason="HEALTH_CHECK_CONTAINER_ERROR")
        elif running.instances[0].answers(running.container["startupProbe"]["httpGet"]["path"]):
            running.instances[0].serving = True
            running.revision["conditions"] = [{"type": "Ready", "state": SUCCEEDED}]
        elif clock.monotonic() - running.started_at > self._start_s(running):
            running.stop()
            self._conclude(running, DID_NOT_START, revisionReason="HEALTH_CHECK_CONTAINER_ERROR")

    def _start_s(self, running: Running) -> float:
        probe = running.container["startupProbe"]
        return min(self.start_timeout_s, float(probe["failureThreshold"] * probe["periodSeconds"]))

    def _conclude(self, running: Running, message: str, **reason: str) -> None:
        running.revision["conditions"] = [{"type": "Ready", "state": FAILED, "message": message, **reason}]

    def _keep(self, running: Running) -> None:
        """Instances that died are no more; there are at least as many as the revision's minimum."""
        running.instances = [one for one in running.instances if one.alive]
        for one in running.instances:
            if not one.serving and one.answers(running.container["startupProbe"]["httpGet"]["path"]):
                one.serving = True
        if len(running.instances) < running.bounds[0]:
            running.start(self._addresses)

    def _retire(self, *ended: Running) -> None:
        for running in ended:
            running.stop()
            self._ends.append(Running(running.revision, None, running.log, self.secrets, list(running.instances)))
            running.instances = []

    # -- fronts --------------------------------------------------------------------------------------------------------

    def _open_front(self, name: str, tag: str) -> str:
        """The URL of a service, or of one of its tags; opened once."""
        at = f"{name}/{tag}"
        if at not in self.doors:
            self.doors[at] = door = Door(
                lambda: self._choose(name, tag), self._wanted, lambda token: self._why_refused(name, token)
            )
            address = self._addresses.take()
            context: ssl.SSLContext = self.authority.issue(address)
            door.url = self._fronts.open(address, context, door)
        return self.doors[at].url

    def _choose(self, name: str, tag: str) -> Running | None:
        statuses = (self.services.get(name) or {}).get("trafficStatuses") or []
        fit = [one for one in statuses if not tag or one.get("tag") == tag]
        if not fit:
            return None
        weights = [1.0 if tag else float(one.get("percent", 0)) for one in fit]
        chosen = random.choices(fit, weights)[0]
        return self.revisions.get(name, {}).get(str(chosen["revision"]))

    def _wanted(self, running: Running) -> None:
        with self.lock, contextlib.suppress(AssertionError):
            starting = [one for one in running.instances if not one.serving]
            if not starting and len(running.instances) < running.bounds[1]:
                running.start(self._addresses)

    def _why_refused(self, name: str, token: str) -> str | None:
        self.used.add("run.routes.invoke")
        if "run.routes.invoke" in self.denied:
            return "the caller lacks run.routes.invoke"
        return self.issuer.why_refused(token, str((self.services.get(name) or {}).get("uri")))


def _etag() -> str:
    """As Google's are: base64, in quotes, so that it has to be quoted in a query."""
    return f'"{secrets.token_hex(6)}+a/cg=="'


def _writable() -> Iterator[str]:
    from support.cloudrun.schema import MESSAGES

    return (name for name, kind in MESSAGES["Service"].items() if not kind.startswith("-") and name != "etag")
