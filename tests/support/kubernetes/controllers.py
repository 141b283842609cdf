"""What the controllers of a cluster do: Deployments have ReplicaSets, those have pods, Services have EndpointSlices."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import string
import threading
from typing import Any

from support.kubernetes import fields
from support.kubernetes.events import record
from support.kubernetes.kinds import (
    AUTOSCALERS,
    BUDGETS,
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    SLICES,
    Refusal,
    matches,
)
from support.kubernetes.rest import Rest
from support.kubernetes.store import Object, stamp

COST = "controller.kubernetes.io/pod-deletion-cost"
REVISION = "deployment.kubernetes.io/revision"
RETRY_S = 0.2
"""After a pod was refused, its making is tried again this much later."""


class Controllers:
    """One thread that brings everything in line after each change."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._store = rest.store
        self.wanted: dict[str, int] = {}
        """How many replicas an autoscaler, by its name, asks for: there are no metrics here."""
        self._thread = threading.Thread(target=self._run, name="fake controllers", daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(10)

    def _run(self) -> None:
        store, seen, failing = self._store, -1, False
        while not store.closed:
            seen = store.wait(seen, RETRY_S if failing else 0.5)
            for one in store.list("horizontalpodautoscalers"):
                self._autoscale(one)
            for one in store.list("deployments"):
                self._deployment(one)
            refused = [self._replica_set(one) for one in store.list("replicasets")]
            failing = any(refused)
            for one in store.list("deployments"):
                self._report(one)
            for one in store.list("services"):
                self._slice(one)
            for one in store.list("poddisruptionbudgets"):
                self._budget(one)

    # -- counts -------------------------------------------------------------------------------------------------------

    def _autoscale(self, one: Object) -> None:
        spec, where = one["spec"], one["metadata"]["namespace"]
        target = self._store.get("deployments", where, spec["scaleTargetRef"]["name"])
        if target is None:
            return
        now = target["spec"]["replicas"]
        wanted = self.wanted.get(one["metadata"]["name"], now)
        bounded = 0 if now == 0 else min(max(wanted, spec["minReplicas"]), spec["maxReplicas"])

        def scale(it: Object) -> None:
            before = copy.deepcopy(it)
            it["spec"]["replicas"] = bounded
            if it != before:
                fields.updated(DEPLOYMENTS, before, it, "kube-controller-manager", "scale")

        self._store.update(DEPLOYMENTS, where, target["metadata"]["name"], scale)

        def told(it: Object) -> None:
            it["status"] = {
                "currentReplicas": now,
                "desiredReplicas": bounded,
                "conditions": [],
                "currentMetrics": None,
            }

        self._store.update(AUTOSCALERS, where, one["metadata"]["name"], told)

    def _deployment(self, one: Object) -> None:
        meta, spec = one["metadata"], one["spec"]
        if REVISION not in meta.get("annotations", {}):  # which changes the object right after it was made
            self._store.update(DEPLOYMENTS, meta["namespace"], meta["name"], _revised)
        name = f"{meta['name']}-{_hash(spec['template'])}"
        where, found = meta["namespace"], self._store.get("replicasets", meta["namespace"], name)
        if found is None:
            labels = {**spec["template"]["metadata"]["labels"], "pod-template-hash": name.rpartition("-")[2]}
            template = copy.deepcopy(spec["template"])
            template["metadata"]["labels"] = labels
            made: Object = {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": name,
                    "labels": labels,
                    "annotations": {REVISION: "1"},
                    "ownerReferences": [_owner(one)],
                },
                "spec": {
                    "replicas": spec["replicas"],
                    "selector": {"matchLabels": {**spec["selector"]["matchLabels"], **_only_hash(labels)}},
                    "template": template,
                },
                "status": {"replicas": 0},
            }
            with self._store.changed:
                if self._store.get("deployments", where, meta["name"]) is not None:  # it may be deleted by now
                    self._store.create(REPLICA_SETS, where, made)
            return

        def count(it: Object) -> None:
            it["spec"]["replicas"] = spec["replicas"]

        self._store.update(REPLICA_SETS, where, name, count)

    def _replica_set(self, one: Object) -> bool:
        """Make and delete pods; whether one was refused."""
        where, uid = one["metadata"]["namespace"], one["metadata"]["uid"]
        pods = [pod for pod in self._store.list("pods", where) if _owned_by(pod, uid)]
        active = [pod for pod in pods if _active(pod)]
        refused = ""
        for _ in range(one["spec"]["replicas"] - len(active)):
            refused = self._make(one)
            if refused:
                break
        surplus = len(active) - one["spec"]["replicas"]
        for pod in sorted(active, key=_leaving_order)[: max(0, surplus)]:
            self._rest.delete(PODS, where, pod["metadata"]["name"])

        def told(it: Object) -> None:
            conditions = [_condition("ReplicaFailure", "True", "FailedCreate", refused)] if refused else []
            ready = sum(map(_is_ready, active))
            status = {"replicas": len(active), "readyReplicas": ready, "availableReplicas": ready}
            status["terminatingReplicas"] = len(pods) - len(active)
            it["status"] = {
                **status,
                "fullyLabeledReplicas": len(active),
                "observedGeneration": it["metadata"]["generation"],
                **_kept_times(it, conditions),
            }

        self._store.update(REPLICA_SETS, where, one["metadata"]["name"], told)
        return bool(refused)

    def _make(self, one: Object) -> str:
        meta = one["metadata"]
        name = f"{meta['name']}-"[:58] + "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        template = copy.deepcopy(one["spec"]["template"])
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **template["metadata"],
                "name": name,
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "ownerReferences": [_owner(one)],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending", "qosClass": "Burstable"},
        }
        with self._store.changed:
            if self._store.get("replicasets", meta["namespace"], meta["name"]) is None:
                return ""
            try:
                self._rest.admit_pod(meta["namespace"], pod)
            except Refusal as refusal:
                message = str(refusal)
                record(
                    self._store, one, "FailedCreate", f"Error creating: {message}", component="replicaset-controller"
                )
                return message
            self._store.create(PODS, meta["namespace"], pod)
        return ""

    def _report(self, one: Object) -> None:
        meta = one["metadata"]
        sets = [it for it in self._store.list("replicasets", meta["namespace"]) if _owned_by(it, meta["uid"])]
        total, ready = (sum(it["status"].get(name, 0) for it in sets) for name in ("replicas", "readyReplicas"))
        failing = [it for it in sets for c in it["status"].get("conditions", ()) if c["type"] == "ReplicaFailure"]
        wanted = one["spec"]["replicas"]
        conditions = [
            _condition(
                "Available",
                str(ready >= wanted),
                "MinimumReplicasAvailable" if ready >= wanted else "MinimumReplicasUnavailable",
                "",
            ),
            _condition("Progressing", "True", "NewReplicaSetAvailable" if ready >= wanted else "ReplicaSetUpdated", ""),
        ]
        conditions += [
            _condition("ReplicaFailure", "True", "FailedCreate", it["status"]["conditions"][0]["message"])
            for it in failing
        ]

        def told(it: Object) -> None:
            counts = {"replicas": total, "updatedReplicas": total, "readyReplicas": ready, "availableReplicas": ready}
            it["status"] = {
                "observedGeneration": meta["generation"],
                **{name: count for name, count in counts.items() if count},
                **({"unavailableReplicas": wanted - ready} if wanted > ready else {}),
                "terminatingReplicas": sum(it["status"].get("terminatingReplicas", 0) for it in sets),
                **_kept_times(it, conditions),
            }

        self._store.update(DEPLOYMENTS, meta["namespace"], meta["name"], told)

    # -- addresses ----------------------------------------------------------------------------------------------------

    def _slice(self, one: Object) -> None:
        meta, spec = one["metadata"], one["spec"]
        name = f"{meta['name']}-{_hash(meta['uid'])[:5]}"
        where = meta["namespace"]
        if not spec.get("selector"):
            return
        pods = [
            pod
            for pod in self._store.list("pods", where)
            if matches(pod["metadata"].get("labels", {}), spec["selector"])
            and pod["status"].get("podIP")
            and pod["status"]["phase"] not in ("Failed", "Succeeded")
        ]
        headless = {"service.kubernetes.io/headless": ""} if spec.get("clusterIP") == "None" else {}
        body: Object = {
            "addressType": "IPv4",
            "endpoints": [_endpoint(pod, bool(spec.get("publishNotReadyAddresses"))) for pod in pods] or None,
            "ports": (
                pods
                and [
                    {"name": port.get("name", ""), "port": port["targetPort"], "protocol": port["protocol"]}
                    for port in spec.get("ports", ())
                ]
            )
            or None,
        }
        labels = {
            **meta.get("labels", {}),
            "kubernetes.io/service-name": meta["name"],
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            **headless,
        }

        def told(it: Object) -> None:
            it |= body
            it["metadata"]["labels"] = labels

        with self._store.changed:
            if self._store.get("services", where, meta["name"]) is None:
                return
            if self._store.update(SLICES, where, name, told) is None:
                head = {"name": name, "labels": labels, "ownerReferences": [_owner(one)]}
                made = {"apiVersion": SLICES.api_version, "kind": SLICES.kind, "metadata": head, **body}
                self._store.create(SLICES, where, made)

    def _budget(self, one: Object) -> None:
        meta, spec = one["metadata"], one["spec"]
        wanted = spec["selector"].get("matchLabels", {})
        pods = [
            pod
            for pod in self._store.list("pods", meta["namespace"])
            if matches(pod["metadata"].get("labels", {}), wanted)
        ]

        def told(it: Object) -> None:
            healthy = sum(map(_is_ready, pods))
            it["status"] = {
                "currentHealthy": healthy,
                "expectedPods": len(pods),
                "observedGeneration": meta["generation"],
            }

        self._store.update(BUDGETS, meta["namespace"], meta["name"], told)


def _revised(one: Object) -> None:
    before = copy.deepcopy(one)
    one["metadata"].setdefault("annotations", {})[REVISION] = "1"
    fields.updated(DEPLOYMENTS, before, one, "kube-controller-manager")


def _leaving_order(pod: Object) -> tuple[Any, ...]:
    """Those that go first come first: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/"""
    status, meta = pod["status"], pod["metadata"]
    restarts = max((one["restartCount"] for one in status.get("containerStatuses", ())), default=0)
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(status["phase"], 2),
        _is_ready(pod),
        int(meta.get("annotations", {}).get(COST, 0)),
        -restarts,
        tuple(-ord(letter) for letter in meta["creationTimestamp"]),
        -int(meta["resourceVersion"]),
    )


def _active(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] not in ("Failed", "Succeeded")


def _is_ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))


def _endpoint(pod: Object, publish: bool) -> Object:
    ready, ending = _is_ready(pod), "deletionTimestamp" in pod["metadata"]
    meta = pod["metadata"]
    target = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": publish or (ready and not ending), "serving": ready, "terminating": ending},
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": target,
    }


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _kept_times(one: Object, conditions: list[Object]) -> Object:
    """With the time since when each is as it is."""
    before = {it["type"]: it for it in one.get("status", {}).get("conditions", ())}
    found = []
    for it in conditions:
        was = before.get(it["type"])
        same = was is not None and was["status"] == it["status"]
        found.append({**it, "lastTransitionTime": was["lastTransitionTime"] if was is not None and same else stamp()})
    return {"conditions": found} if found else {}


def _owner(one: Object) -> Object:
    meta = one["metadata"]
    told = {"apiVersion": one["apiVersion"], "kind": one["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {**told, "controller": True, "blockOwnerDeletion": True}


def _owned_by(one: Object, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences", ()))


def _only_hash(labels: dict[str, str]) -> dict[str, str]:
    return {"pod-template-hash": labels["pod-template-hash"]}


def _hash(of: Any) -> str:
    """Ten letters, as a ReplicaSet's name ends in."""
    number = int(hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest(), 16)
    letters = string.digits[2:] + "bcdfghjklmnpqrstvwxz"
    return "".join(letters[number // len(letters) ** place % len(letters)] for place in range(10))
