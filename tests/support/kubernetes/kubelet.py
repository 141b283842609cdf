"""The node of the fake cluster: finds room for pods and runs each, in a thread of its own, as real processes."""

from __future__ import annotations

import base64
import itertools
import os
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.kubernetes.containers import Image, Place
from support.kubernetes.defaults import amount
from support.kubernetes.events import record
from support.kubernetes.kinds import PODS, Refusal, bytes_of
from support.kubernetes.rest import Rest
from support.kubernetes.running import Running, Surroundings
from support.kubernetes.store import Object, stamp

NODE = "node-1"
TICK_S = 0.03
NETWORK = "127.21"
PORT = 8000
_SERIAL = itertools.count(os.getpid() * 13)


@dataclass
class Node:
    """What a node has room for; `labels` are what pods may select it by. Tests change it while the cluster runs."""

    cpu: str = "64"
    memory: str = "256Gi"
    pods: int = 110
    labels: dict[str, str] = field(default_factory=lambda: {"kubernetes.io/hostname": NODE})


class Kubelet:
    """Takes every pod that there is."""

    def __init__(
        self, rest: Rest, images: Mapping[str, Image], folder: Path, *, backoff_s: float, speed: float
    ) -> None:
        self.node = Node()
        self._rest = rest
        self._store = rest.store
        self._folder = folder
        self._around = Surroundings(
            rest.store,
            images,
            lambda pod, why, said: record(rest.store, pod, why, said),
            backoff_s,
            backoff_s * 8,
            speed,
        )
        self._runners: dict[str, PodRunner] = {}
        self._thread = threading.Thread(target=self._run, name="fake kubelet", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Once the store is closed: all processes are ended."""
        self._thread.join(10)
        for runner in list(self._runners.values()):
            runner.thread.join(10)

    def container(self, pod: str, container: str) -> Running:
        """For tests that kill one."""
        return next(
            one
            for runner in self._runners.values()
            if runner.name == pod
            for one in runner.containers
            if one.name == container
        )

    def logs(self, namespace: str, pod: str, container: str, previous: bool) -> str:
        found = [
            one
            for runner in self._runners.values()
            if (runner.namespace, runner.name) == (namespace, pod)
            for one in runner.containers
            if one.name == container
        ]
        if not found:
            raise Refusal(400, "BadRequest", f"container {container} is not valid for pod {pod}")
        if previous and not found[0].restarts and not found[0].last:
            said = f'previous terminated container "{container}" in pod "{pod}" not found'
            raise Refusal(400, "BadRequest", said)
        started = found[0].log
        file: Path = found[0].log_before if previous and found[0].process is not None else started
        if not file.exists():
            waits = found[0].state.get("waiting", {}).get("reason", "")
            said = f'container "{container}" in pod "{pod}" is waiting to start: {waits}'
            raise Refusal(400, "BadRequest", said)
        return file.read_text(errors="replace")

    def _run(self) -> None:
        store, seen = self._store, -1
        while not store.closed:
            seen = store.wait(seen, 1.0)
            for pod in store.list("pods"):
                uid = pod["metadata"]["uid"]
                if uid not in self._runners and not store.closed:
                    self._runners[uid] = PodRunner(self, pod, self._rest, self._around, self._folder / uid)

    def room_for(self, pod: Object) -> str:
        """Empty where the pod fits, else the scheduler's words."""
        there = [
            one
            for one in self._store.list("pods")
            if one["spec"].get("nodeName") and one["status"]["phase"] not in ("Failed", "Succeeded")
        ]
        selector = pod["spec"].get("nodeSelector", {})
        if not selector.items() <= self.node.labels.items():
            return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        if len(there) >= self.node.pods:
            return "0/1 nodes are available: 1 Too many pods."
        for name, capacity in (("cpu", self.node.cpu), ("memory", self.node.memory)):
            used = sum(amount(one["spec"], f"requests.{name}") for one in there)
            if used + amount(pod["spec"], f"requests.{name}") > bytes_of(capacity):
                return f"0/1 nodes are available: 1 Insufficient {name}. preemption: 0/1 nodes are available."
        return ""


class PodRunner:
    """One pod from its scheduling to its removal."""

    def __init__(self, node: Kubelet, pod: Object, rest: Rest, around: Surroundings, folder: Path) -> None:
        self.namespace, self.name, self.uid = (pod["metadata"][key] for key in ("namespace", "name", "uid"))
        self.containers: list[Running] = []
        self._node, self._pod, self._rest, self._around, self._folder = node, pod, rest, around, folder
        self._store = rest.store
        self._said: list[Object] = []
        self.thread = threading.Thread(target=self._run, name=f"fake pod {self.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            if self._scheduled():
                place = self._placed()
                if place is not None:
                    self._live(place)
        finally:
            for one in self.containers:
                one.stop(signal.SIGKILL)
                if one.process is not None:
                    one.process.wait(10)
            shutil.rmtree(self._folder / "volumes", ignore_errors=True)
        if not self._store.closed:
            self._store.remove("pods", self.namespace, self.name)

    def _now(self) -> Object | None:
        """The pod as it is; None: deleted before it ran, or the cluster ends."""
        found = self._store.get("pods", self.namespace, self.name)
        gone = found is None or found["metadata"]["uid"] != self.uid or self._store.closed
        return None if gone else found

    def _scheduled(self) -> bool:
        while (pod := self._now()) is not None and "deletionTimestamp" not in pod["metadata"]:
            with self._store.changed:
                why = self._node.room_for(pod)
                if not why:
                    self._update(lambda it: it["spec"].update(nodeName=NODE))
                    self._condition("PodScheduled", "True")
                    said = f"Successfully assigned {self.namespace}/{self.name} to {NODE}"
                    record(self._store, pod, "Scheduled", said, component="default-scheduler")
                    return True
            self._condition("PodScheduled", "False", "Unschedulable", why)
            record(self._store, pod, "FailedScheduling", why, component="default-scheduler")
            with self._store.changed:
                self._store.changed.wait(0.2)
        return False

    def _placed(self) -> Place | None:
        """Its address and volumes; it waits for Secrets that are not there yet."""
        self._folder.mkdir(parents=True)
        pod = self._now()
        while pod is not None and "deletionTimestamp" not in pod["metadata"]:
            volumes: dict[str, Path] = {}
            missing = ""
            for volume in pod["spec"].get("volumes", ()):
                where = self._folder / "volumes" / volume["name"]
                where.mkdir(parents=True, exist_ok=True)
                volumes[volume["name"]] = where
                missing = missing or self._fill(volume, where)
            if not missing:
                return Place(pod, free_address(), volumes, self._folder)
            record(self._store, pod, "FailedMount", f"MountVolume.SetUp failed for volume: {missing}")
            with self._store.changed:
                self._store.changed.wait(0.2)
            pod = self._now()
        return None

    def _fill(self, volume: Object, where: Path) -> str:
        if "emptyDir" in volume:
            return ""
        if "secret" not in volume:
            return f"the fake mounts no {sorted(volume)}"
        secret = self._store.get("secrets", self.namespace, volume["secret"]["secretName"])
        if secret is None:
            return "" if volume["secret"].get("optional") else f'secret "{volume["secret"]["secretName"]}" not found'
        items = volume["secret"].get("items") or [{"key": key, "path": key} for key in secret.get("data", {})]
        for item in items:
            (where / item["path"]).write_bytes(base64.b64decode(secret["data"][item["key"]]))
        return ""

    # -- life ---------------------------------------------------------------------------------------------------------

    def _live(self, place: Place) -> None:
        spec = place.pod["spec"]
        self.containers = [Running(one, place, self._around, init=True) for one in spec.get("initContainers", ())]
        self.containers += [Running(one, place, self._around) for one in spec["containers"]]
        self._update(lambda it: it["status"].update(startTime=stamp(), hostIP="127.0.0.1"))
        while (pod := self._now()) is not None:
            if "deletionTimestamp" in pod["metadata"]:
                self._end(pod)
                return
            now = time.monotonic()
            for one in self._turn():
                one.step(now)
            self._tell(place)
            time.sleep(TICK_S)

    def _turn(self) -> list[Running]:
        """The first init container that is not done; once all are, all others."""
        waiting = [one for one in self.containers if one.init and not one.done]
        return waiting[:1] or [one for one in self.containers if not one.init]

    def _tell(self, place: Place) -> None:
        inits = [one.status() for one in self.containers if one.init]
        mains = [one.status() for one in self.containers if not one.init]
        initialized = all(one["ready"] for one in inits)
        for one in mains if not initialized else ():
            one["state"] = {"waiting": {"reason": "PodInitializing"}}
        ready = all(one["ready"] for one in mains)
        unready = [one["name"] for one in mains if not one["ready"]]
        said = [*inits, *mains]
        if said == self._said:
            return
        self._said = [*inits, *mains]
        began = any("running" in one["state"] or one["lastState"] for one in mains)

        def told(it: Object) -> None:
            status = it["status"]
            status["phase"] = "Running" if began or status["phase"] == "Running" else "Pending"
            status["podIP"], status["podIPs"] = place.ip, [{"ip": place.ip}]
            status["containerStatuses"] = mains
            if inits:
                status["initContainerStatuses"] = inits
            why = (
                ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
                if unready
                else ("", "")
            )
            set_condition(status, "Initialized", initialized)
            set_condition(status, "ContainersReady", ready, *why)
            set_condition(status, "Ready", ready, *why)

        self._update(told)

    def _end(self, pod: Object) -> None:
        """preStop, SIGTERM, and SIGKILL when the grace is over; readiness is still asked."""
        began, place = time.monotonic(), self.containers[0].place
        for one in self.containers:
            if one.process is not None:
                record(self._store, pod, "Killing", f"Stopping container {one.name}")
        hooks = [threading.Thread(target=self._hooked, args=(one,), daemon=True) for one in self.containers]
        for hook in hooks:
            hook.start()
        while any(one.process is not None and one.process.poll() is None for one in self.containers):
            current = self._now()
            if current is None:
                return
            if time.monotonic() - began >= current["metadata"]["deletionGracePeriodSeconds"]:
                for one in self.containers:
                    one.stop(signal.SIGKILL)
            for one in self.containers:
                if one.process is not None and one.process.poll() is None and one.started:
                    one.probers.pop("livenessProbe", None)
                    one.step(time.monotonic())
            self._tell(place)
            time.sleep(TICK_S)

    def _hooked(self, one: Running) -> None:
        hook = one.spec.get("lifecycle", {}).get("preStop", {})
        if one.process is None:
            return
        if "sleep" in hook:
            time.sleep(hook["sleep"]["seconds"] / self._around.speed)
        elif "httpGet" in hook:
            get = hook["httpGet"]
            with suppress(OSError):
                urllib.request.urlopen(f"http://{one.place.ip}:{get['port']}{get.get('path', '/')}", timeout=30).close()
        one.stop(signal.SIGTERM)

    def _condition(self, kind: str, status: str, reason: str = "", message: str = "") -> None:
        self._update(lambda it: set_condition(it["status"], kind, status == "True", reason, message))

    def _update(self, change: object) -> None:
        self._store.update(PODS, self.namespace, self.name, change)  # type: ignore[arg-type]


def set_condition(status: Object, kind: str, holds: bool, reason: str = "", message: str = "") -> None:
    """With the time since when it is so."""
    conditions = status.setdefault("conditions", [])
    told = {"type": kind, "status": str(holds), **({"reason": reason, "message": message} if reason else {})}
    before = next((one for one in conditions if one["type"] == kind), None)
    same = before is not None and before["status"] == told["status"]
    told["lastTransitionTime"] = before["lastTransitionTime"] if before is not None and same else stamp()
    if before is None:
        conditions.append(told)
    else:
        conditions[conditions.index(before)] = told


def free_address() -> str:
    """An address of this machine's own network where nothing listens on the replicas' port."""
    for _ in range(1000):
        number = next(_SERIAL)
        ip = f"{NETWORK}.{number // 250 % 250 + 1}.{number % 250 + 1}"
        with socket.socket() as probe, suppress(OSError):
            probe.bind((ip, PORT))
            return ip
    raise AssertionError("no address is free for a pod")
