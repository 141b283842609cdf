"""What the fake API server answers: paths, verbs, rights, preconditions, lists in pages. Knows no sockets."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.kubernetes import defaults, fields
from support.kubernetes.kinds import (
    BY_PATH,
    BY_PLURAL,
    DEPLOYMENTS,
    PODS,
    SECRETS,
    SERVICES,
    Refusal,
    Served,
    another,
    changed_meanwhile,
    check_selector,
    forbidden,
    group,
    invalid,
    not_found,
    selects,
)
from support.kubernetes.rights import Policies, Rights, Target
from support.kubernetes.store import Change, Object, Store, stamp

VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH = re.compile(r"/(?:api|apis/([a-z0-9.]+))/(v[0-9a-z]+)/namespaces/([^/]+)/([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?")
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.2", "platform": "linux/amd64"}


@dataclass(frozen=True)
class Call:
    """One request. `user` is who the credentials say."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    content_type: str
    user: str


@dataclass(frozen=True)
class Watching:
    """A call that is answered by a stream."""

    target: Target
    selector: str
    version: int
    timeout_s: float


class Created(Object):
    """An object that was not there: answered with 201."""


Logs = Callable[[str, str, str, bool], str]
"""Namespace, pod, container, of the one before → its log. Raises `Refusal`."""


class Rest:
    """Answers calls on a store."""

    def __init__(self, store: Store, policies: Policies, logs: Logs) -> None:
        self.store = store
        self.policies = policies
        self._logs = logs
        self._rights = Rights(policies)
        self.pages: dict[str, list[Object]] = {}

    def answer(self, call: Call) -> Object | str | Watching:
        """The object, the text of a log, or a watch. Raises `Refusal`."""
        if call.path == "/version":
            return VERSION
        if call.path == _REVIEW and call.method == "POST":
            return self._rights.review(call.body)
        alone = re.fullmatch(r"/api/v1/namespaces/([^/]+)", call.path)
        if alone and call.method == "GET":
            return self._rights.namespace(call.user, alone[1])
        target = self._target(call.path)
        verb = self._verb(call, target)
        self._rights.check(call.user, verb, target)
        return self._do(verb, call, target)

    def _do(self, verb: str, call: Call, target: Target) -> Object | str | Watching:
        does: dict[str, Callable[[Call, Target], Object | str | Watching]] = {
            "get": self._read,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "patch": self._patch,
            "delete": self._delete,
        }
        if verb not in does:
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        return does[verb](call, target)

    def _read(self, call: Call, target: Target) -> Object | str:
        found = self._get(target)
        if target.subresource == "log":
            if not found["spec"].get("nodeName"):
                raise Refusal(204, "", "a pod without a node has no log")
            container = call.query.get("container") or found["spec"]["containers"][0]["name"]
            text = self._logs(target.namespace, target.name, container, call.query.get("previous") == "true")
            lines = text.splitlines(keepends=True)
            return "".join(lines[-int(call.query["tailLines"]) :] if "tailLines" in call.query else lines)
        return _scale(found) if target.subresource == "scale" else found

    def _watch(self, call: Call, target: Target) -> Watching:
        version = int(call.query.get("resourceVersion") or self.store.version)
        timeout_s = float(call.query.get("timeoutSeconds", 1800))
        return Watching(target, call.query.get("labelSelector", ""), version, timeout_s)

    # -- reading ------------------------------------------------------------------------------------------------------

    def _target(self, path: str) -> Target:
        found = _PATH.fullmatch(path)
        served = found and BY_PATH.get((found[1] or "", found[2], found[4]))
        if not found or not served:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        subresource = found[6] or ""
        allowed = {"": True, "log": served is PODS, "scale": served is DEPLOYMENTS, "status": True}
        if not allowed.get(subresource):
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        return Target(served, found[3], found[5] or "", subresource)

    def _verb(self, call: Call, target: Target) -> str:
        if call.method == "GET" and not target.name:
            return "watch" if call.query.get("watch") in ("true", "1") else "list"
        return VERBS.get(call.method, call.method.lower())

    def _get(self, target: Target) -> Object:
        found = self.store.get(target.served.plural, target.namespace, target.name)
        if found is None:
            raise not_found(target.served, target.name)
        return found

    def _list(self, call: Call, target: Target) -> Object:
        served, limit = target.served, int(call.query.get("limit") or 0)
        check_selector(call.query.get("labelSelector", ""))
        if call.query.get("continue"):
            try:
                told = json.loads(base64.b64decode(call.query["continue"]))
            except ValueError:
                raise Refusal(400, "BadRequest", "continue key is not valid") from None
            version, rest = told["version"], self.pages.pop(told["page"], None)
            if rest is None or version < self.store.oldest:
                raise Refusal(410, "Expired", "The provided continue parameter is too old to display a consistent list")
        else:
            with self.store.changed:
                version = self.store.version
                every = self.store.list(served.plural, target.namespace)
            rest = [
                one for one in every if selects(call.query.get("labelSelector", ""), one["metadata"].get("labels", {}))
            ]
        page, rest = (rest[:limit], rest[limit:]) if limit else (rest, [])
        meta: Object = {"resourceVersion": str(version)}
        if rest:
            key = f"{version}-{len(self.pages)}-{len(rest)}"
            self.pages[key] = rest
            meta |= {"continue": base64.b64encode(json.dumps({"version": version, "page": key}).encode()).decode()}
            meta |= {"remainingItemCount": len(rest)}
        items = [{key: value for key, value in one.items() if key not in ("apiVersion", "kind")} for one in page]
        return {"kind": f"{served.kind}List", "apiVersion": served.api_version, "metadata": meta, "items": items}

    # -- writing ------------------------------------------------------------------------------------------------------

    def _patch(self, call: Call, target: Target) -> Object:
        if call.content_type == "application/apply-patch+yaml":
            return self._apply(call, target)
        if call.content_type != "application/merge-patch+json":
            raise Refusal(
                415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {call.content_type}"
            )
        manager = call.query.get("fieldManager", "unknown")

        def change(one: Object) -> None:
            before = copy.deepcopy(one)
            if target.subresource == "scale":
                wanted = fields.merged(_scale(one), call.body)
                self._check_version(target, one, wanted)
                one["spec"]["replicas"] = wanted["spec"]["replicas"]
            else:
                wanted = fields.merged(one, call.body)
                self._check_version(target, one, wanted)
                one.clear()
                one.update(wanted)
            self._admit(target, before, one)
            if one != before:
                fields.updated(target.served, before, one, manager, target.subresource)

        after = self.store.update(target.served, target.namespace, target.name, change)
        if after is None:
            raise not_found(target.served, target.name)
        return _scale(after) if target.subresource == "scale" else after

    def _apply(self, call: Call, target: Target) -> Object:
        manager, given, served = call.query.get("fieldManager"), call.body, target.served
        if not manager:
            said = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            raise Refusal(422, "Invalid", said, group="meta.k8s.io", kind="PatchOptions")
        if (given.get("apiVersion"), given.get("kind")) != (served.api_version, served.kind):
            raise Refusal(400, "BadRequest", f"invalid object type: Kind={given.get('kind')}")
        if given["metadata"].get("name", target.name) != target.name:
            raise Refusal(400, "BadRequest", "the name of the object does not match the name on the URL")
        if "managedFields" in given["metadata"]:
            raise Refusal(400, "BadRequest", "metadata.managedFields must be nil")
        with self.store.changed:
            live = self.store.get(served.plural, target.namespace, target.name)
            if live is None:
                self._rights.check(call.user, "create", target)
            if live is not None:
                self._check_version(target, live, {**given, "metadata": {**live["metadata"], **given["metadata"]}})
            told = copy.deepcopy(given)
            for name in ("resourceVersion", "uid"):
                told["metadata"].pop(name, None)
            force = call.query.get("force") == "true"
            after = fields.apply(served, live, _plain(told), manager, force=force)
            self._admit(target, live, after)
            if live is None:
                return Created(self.store.create(served, target.namespace, after))
            made = self.store.update(served, target.namespace, target.name, lambda one: _replace(one, after))
            assert made is not None
            return made

    def _create(self, call: Call, target: Target) -> Object:
        given = copy.deepcopy(call.body)
        name = given["metadata"].get("name")
        if self.store.get(target.served.plural, target.namespace, name) is not None:
            said = f'{target.served.qualified} "{name}" already exists'
            raise Refusal(409, "AlreadyExists", said, name=name, **group(target.served), kind=target.served.plural)
        self._admit(Target(target.served, target.namespace, name, ""), None, given)
        fields.updated(target.served, None, given, call.query.get("fieldManager", "unknown"))
        return Created(self.store.create(target.served, target.namespace, given))

    def admit_pod(self, namespace: str, pod: Object) -> None:
        """What admission says to a pod, whoever makes it. Raises `Refusal`."""
        self._admit(Target(PODS, namespace, pod["metadata"]["name"], ""), None, pod)

    def _admit(self, target: Target, before: Object | None, after: Object) -> None:
        served, name = target.served, target.name
        labels = self.policies.namespaces.get(target.namespace)
        if labels is None:
            said = f'namespaces "{target.namespace}" not found'
            raise Refusal(404, "NotFound", said, name=target.namespace, kind="namespaces")
        if before is None and labels.get("fake/terminating"):
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            raise forbidden(served, name, why)
        after.setdefault("apiVersion", served.api_version)
        after.setdefault("kind", served.kind)
        defaults.fill(served, after)
        defaults.check(served, after)
        if self.policies.refuse is not None and (why := self.policies.refuse(served.plural, after)):
            raise Refusal(403, "Forbidden", f'admission webhook "policy.example.com" denied the request: {why}')
        if before is not None:
            self._immutable(served, before, after)
        elif served is PODS:
            self._admit_new_pod(target, labels, after)
        elif served is SERVICES and not after["spec"].get("clusterIP"):
            after["spec"]["clusterIP"] = f"10.96.0.{1 + self.store.version % 250}"

    def _admit_new_pod(self, target: Target, labels: dict[str, str], pod: Object) -> None:
        if labels.get("pod-security.kubernetes.io/enforce") == "restricted":
            faults = defaults.security_faults(pod["spec"])
            if faults:
                raise forbidden(PODS, target.name, f'violates PodSecurity "restricted:latest": {faults}')
        fault = defaults.quota_fault(self.policies.quota, self.store.list("pods", target.namespace), pod)
        if fault:
            raise forbidden(PODS, target.name, fault)

    def _immutable(self, served: Served, before: Object, after: Object) -> None:
        name = after["metadata"]["name"]
        if served is DEPLOYMENTS:
            if before["spec"]["selector"] != after["spec"]["selector"]:
                raise invalid(served, name, "spec.selector", "field is immutable")
            if before["spec"]["template"] != after["spec"]["template"]:
                raise invalid(
                    served, name, "spec.template", "(of the fake alone) a workload of Tidegate is never rolled"
                )
        if served is PODS and before["spec"] != after["spec"]:
            raise invalid(
                served, name, "spec", "pod updates may not change fields other than `spec.containers[*].image`"
            )
        if served is SECRETS and before.get("immutable") and before.get("data") != after.get("data"):
            raise invalid(served, name, "data", "field is immutable when `immutable` is set")
        if served is SERVICES and before["spec"].get("clusterIP") != after["spec"].get("clusterIP"):
            raise invalid(served, name, "spec.clusterIPs[0]", "may not change once set")

    def _check_version(self, target: Target, live: Object, wanted: Object) -> None:
        told = wanted["metadata"].get("resourceVersion")
        if told is not None and told != live["metadata"]["resourceVersion"]:
            raise changed_meanwhile(target.served, target.name)
        told = wanted["metadata"].get("uid")
        if told is not None and told != live["metadata"]["uid"]:
            raise invalid(target.served, target.name, "metadata.uid", f'Invalid value: "{told}": field is immutable')

    def _delete(self, call: Call, target: Target) -> Object:
        options = call.body or {}
        with self.store.changed:
            live = self._get(target)
            for name, told in options.get("preconditions", {}).items():
                if told != live["metadata"][name]:
                    raise another(target.served, target.name, name, told, live["metadata"][name])
            grace = options.get("gracePeriodSeconds")
            self.delete(target.served, target.namespace, target.name, grace)
        details = {"name": target.name, "kind": target.served.plural, "uid": live["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def delete(self, served: Served, namespace: str, name: str, grace_s: int | None = None) -> None:
        """A pod is marked, and its kubelet removes it; anything else goes at once, with what it owns."""
        if served is PODS:

            def mark(one: Object) -> None:
                grace = one["spec"]["terminationGracePeriodSeconds"] if grace_s is None else grace_s
                meta = one["metadata"]
                if "deletionTimestamp" not in meta or grace < meta["deletionGracePeriodSeconds"]:
                    meta["deletionTimestamp"] = stamp(grace)
                    meta["deletionGracePeriodSeconds"] = grace

            self.store.update(PODS, namespace, name, mark)
            return
        gone = self.store.remove(served.plural, namespace, name)
        if gone is not None:
            for plural, where, owned in self.store.owned(gone["metadata"]["uid"]):
                self.delete(BY_PLURAL[plural], where, owned)


def event_of(change: Change, selector: str) -> Object | None:
    """What a watch with this selector says of a change: objects come and go with their labels."""
    labels = change.object["metadata"].get("labels", {})
    before = {} if change.before is None else change.before["metadata"].get("labels", {})
    now = change.type != "DELETED" and selects(selector, labels)
    then = change.before is not None and selects(selector, before)
    if not now and not then:
        return None
    how = "DELETED" if not now else "MODIFIED" if then else "ADDED"
    return {"type": how, "object": change.object}


def _check_applied(given: Object, target: Target) -> None:
    served = target.served
    if (given.get("apiVersion"), given.get("kind")) != (served.api_version, served.kind):
        raise Refusal(400, "BadRequest", f"invalid object type: Kind={given.get('kind')}")
    if given["metadata"].get("name", target.name) != target.name:
        raise Refusal(400, "BadRequest", "the name of the object does not match the name on the URL")
    if "managedFields" in given["metadata"]:
        raise Refusal(400, "BadRequest", "metadata.managedFields must be nil")


def _scale(deployment: Object) -> Object:
    meta = {
        name: deployment["metadata"][name]
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": deployment["spec"]["replicas"]},
        "status": {"replicas": deployment.get("status", {}).get("replicas", 0)},
    }


def _plain(one: Object) -> Object:
    """`stringData` of a Secret becomes `data`."""
    if one["kind"] == "Secret" and "stringData" in one:
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in one.pop("stringData").items()}
        one["data"] = {**one.get("data", {}), **encoded}
    return one


def _replace(one: Object, after: Object) -> None:
    one.clear()
    one.update(after)
