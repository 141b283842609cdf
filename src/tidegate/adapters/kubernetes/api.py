"""Kubernetes' API as far as Tidegate needs it: objects are dictionaries, as in manifests. No decision is made here.

Every method raises `EngineUnavailable` where the cluster does not answer, `EngineDenied` (one of it) where this user
may not, and `EngineRefused` for what would be refused again; each says what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from tidegate.adapters.kubernetes.kinds import OLDEST_SERVER, ObjectKind, kind_of
from tidegate.adapters.kubernetes.kubeconfig import find_access
from tidegate.adapters.kubernetes.refusals import ClusterCall, Gone, names_object, no_namespace, refusal, status_of
from tidegate.adapters.kubernetes.transport import READ_TIMEOUT_S, ApiRequest, ApiTransport, unreachable
from tidegate.errors import Conflict, EngineRefused, EngineUnavailable

FIELD_MANAGER = "tidegate"
PAGE_OBJECTS = 500
PAGES_MAX = 200
LINE_BYTES_MAX = 16 << 20
LOG_BYTES_MAX = 1 << 20
CHUNK_BYTES = 1 << 16
GONE = 410

Object = dict[str, Any]
Lines = list[str]


@dataclass(frozen=True)
class ObjectList:
    """Objects as they were at one moment; a watch goes on from `resource_version`."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True)
class Event:
    """What a watch tells: ADDED, MODIFIED, DELETED with the object, BOOKMARK with a resourceVersion alone."""

    type: str
    object: Object

    @property
    def resource_version(self) -> str:
        return str(self.object.get("metadata", {}).get("resourceVersion", ""))


class KubernetesApi:
    """One cluster, one namespace. Safe to share between threads."""

    def __init__(self, transport: ApiTransport) -> None:
        self._transport = transport

    @property
    def namespace(self) -> str:
        """The namespace everything is in. Raises `EngineDenied` where no cluster is known."""
        return self._transport.access.namespace

    @property
    def where(self) -> str:
        """The API server's address."""
        return self._transport.access.server

    def get(self, kind: ObjectKind, name: str) -> Object | None:
        """The object; None: there is none of this name."""
        request = ApiRequest("GET", kind.path(self.namespace, quote(name)))
        answer = self._transport.call(request)
        if answer.status == 404 and names_object(status_of(answer.body)):
            return None
        return self._object(answer.status, answer.body, self._asked("get", kind, name))

    def list(self, kind: ObjectKind, selector: str = "") -> ObjectList:
        """All objects that the label selector takes, in pages of one moment; begun again where that moment is gone."""
        for _ in range(2):
            try:
                return self._pages(kind, selector)
            except Gone:
                continue
        raise EngineUnavailable(f"{kind.plural} change faster at {self.where} than they can be listed; asked again")

    def watch(self, kind: ObjectKind, selector: str, resource_version: str, timeout_s: float) -> Iterator[Event]:
        """What changes after `resource_version`, until the server ends the watch after `timeout_s`, bookmarks among it.

        The first event is a bookmark of `resource_version`: the watch is open.
        Raises `Gone` where that version is forgotten, and `EngineUnavailable` when the connection is cut.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_s))),
            **({"labelSelector": selector} if selector else {}),
        }
        request = ApiRequest("GET", kind.path(self.namespace), query, read_timeout_s=timeout_s + READ_TIMEOUT_S)
        asked = self._asked("watch", kind)
        with self._transport.opened(request) as response:
            if response.status != 200:
                raise self._error(response.status, response.read(CHUNK_BYTES), asked)
            yield Event("BOOKMARK", {"metadata": {"resourceVersion": resource_version}})
            for line in self._lines(response):
                yield self._event(line, asked)

    def apply(self, manifest: Object, *, force: bool = False) -> Object:
        """Server-side apply as field manager `tidegate`; the object as it is then.

        A `metadata.resourceVersion` (or `uid`) in the manifest is a precondition where the object is there; one that is
        not there is made all the same. Raises `Conflict` where somebody else manages a field, `ChangedMeanwhile` where
        the precondition does not hold.
        """
        try:
            return self._applied(manifest, force=force)
        except Conflict as conflict:
            if conflict.details.get("managers") != [FIELD_MANAGER]:
                raise
            return self._applied(manifest, force=True)  # a patch of ours holds the field, and we are the same manager

    def patch(self, kind: ObjectKind, name: str, body: Mapping[str, Any], *, subresource: str = "") -> Object:
        """A merge patch; raises as `apply` does, and `EngineUnavailable` where the object is gone."""
        path = kind.path(self.namespace, quote(name), subresource)
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        asked = self._asked("patch", kind, name, subresource)
        return self._write(ApiRequest("PATCH", path, query, dict(body), "application/merge-patch+json"), asked)

    def delete(
        self,
        kind: ObjectKind,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete it, and in the background what it owns; what is gone is no error.

        Raises `ChangedMeanwhile` where there is another object of this name, or another version of it.
        """
        conditions = {"uid": uid, "resourceVersion": resource_version}
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if any(conditions.values()):
            options["preconditions"] = {key: value for key, value in conditions.items() if value}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        answer = self._transport.call(ApiRequest("DELETE", kind.path(self.namespace, quote(name)), body=options))
        if answer.status == 404:
            return
        self._object(answer.status, answer.body, self._asked("delete", kind, name))

    def logs(self, pod: str, container: str, lines_max: int, *, previous: bool = False) -> Lines:
        """The container's last lines, oldest first; none where it has not started, or the pod is gone."""
        query = {"container": container, "tailLines": str(lines_max), "limitBytes": str(LOG_BYTES_MAX)}
        if previous:
            query["previous"] = "true"
        path = f"/api/v1/namespaces/{self.namespace}/pods/{quote(pod)}/log"
        answer = self._transport.call(ApiRequest("GET", path, query))
        if answer.status in (
            204,
            400,
            404,
        ):  # has no node yet, waits to start, has no container before this, or is gone
            return []
        if answer.status != 200:
            raise self._error(answer.status, answer.body, ClusterCall("get", "", "pods/log", self.namespace, pod))
        return answer.body.decode(errors="replace").splitlines()[-lines_max:]

    def can(self, verb: str, kind: ObjectKind, subresource: str = "") -> bool:
        """Whether this user may, by SelfSubjectAccessReview."""
        attributes = {
            "namespace": self.namespace,
            "verb": verb,
            "group": kind.group,
            "resource": kind.plural,
            **({"subresource": subresource} if subresource else {}),
        }
        group = "authorization.k8s.io"
        body = {
            "apiVersion": f"{group}/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        request = ApiRequest("POST", f"/apis/{group}/v1/selfsubjectaccessreviews", body=body)
        said = self._write(request, ClusterCall("create", group, "selfsubjectaccessreviews", self.namespace))
        status = said.get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    def version(self) -> str:
        """The server's version, `v1.36.2`."""
        answer = self._transport.call(ApiRequest("GET", "/version"))
        said = self._object(answer.status, answer.body, ClusterCall("get", "", "version", self.namespace))
        return str(said.get("gitVersion", ""))

    def check_version(self) -> str:
        """The server's version. Raises `EngineRefused` for one that is older than what Tidegate writes."""
        version = self.version()
        pair = version_pair(version)
        if pair is not None and pair < OLDEST_SERVER:
            needed = ".".join(map(str, OLDEST_SERVER))
            raise EngineRefused(f"Kubernetes at {self.where} is {version}, and {needed} or newer is needed")
        return version

    def check_namespace(self) -> None:
        """Raises `EngineDenied` when the namespace is not there; where this user may not look, it may be there."""
        answer = self._transport.call(ApiRequest("GET", f"/api/v1/namespaces/{self.namespace}"))
        if answer.status == 404:
            raise no_namespace(self.namespace, self.where)
        if answer.status != 403:
            self._object(
                answer.status, answer.body, ClusterCall("get", "", "namespaces", self.namespace, self.namespace)
            )

    # -- within -------------------------------------------------------------------------------------------------------

    def _pages(self, kind: ObjectKind, selector: str) -> ObjectList:
        items: list[Object] = []
        query = {"limit": str(PAGE_OBJECTS), **({"labelSelector": selector} if selector else {})}
        for _ in range(PAGES_MAX):
            answer = self._transport.call(ApiRequest("GET", kind.path(self.namespace), query))
            if answer.status == GONE:
                raise Gone
            page = self._object(answer.status, answer.body, self._asked("list", kind))
            found, meta = page.get("items") or [], page.get("metadata")
            if not isinstance(meta, dict) or not isinstance(found, list) or not all(map(_is_named, found)):
                raise self._strange()
            items += found
            if not meta.get("continue"):
                return ObjectList(items, str(meta.get("resourceVersion", "")))
            query = {**query, "continue": str(meta["continue"])}
        raise EngineRefused(f"namespace '{self.namespace}' has more than {PAGE_OBJECTS * PAGES_MAX} {kind.plural}")

    def _applied(self, manifest: Object, *, force: bool) -> Object:
        kind, name = kind_of(manifest), str(manifest["metadata"]["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        path = kind.path(self.namespace, quote(name))
        request = ApiRequest("PATCH", path, query, manifest, "application/apply-patch+yaml")
        return self._write(request, self._asked("patch", kind, name))

    def _lines(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        rest = b""
        while True:
            try:
                chunk = response.read1(CHUNK_BYTES)
            except (HTTPError, OSError) as error:
                raise unreachable(self._transport.access, error) from error
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            yield from filter(None, lines)
            if len(rest) > LINE_BYTES_MAX:
                raise EngineUnavailable(
                    f"a watch of {self.where} sent an event of more than {LINE_BYTES_MAX >> 20} MiB"
                )
        if rest:
            raise EngineUnavailable(f"a watch of {self.where} was cut within an event")

    def _event(self, line: bytes, asked: ClusterCall) -> Event:
        try:
            said = json.loads(line)
            event = Event(said["type"], said["object"])
            version = event.resource_version if event.type != "ERROR" else ""
        except (ValueError, KeyError, TypeError, AttributeError):
            raise EngineUnavailable(f"a watch of {self.where} sent what is no event") from None
        if event.type == "ERROR":
            status_code = event.object.get("code")
            code = status_code if isinstance(status_code, int) else 500
            raise Gone if code == GONE else refusal(code, event.object, asked, self.where)
        if not version or not (event.type == "BOOKMARK" or _is_named(event.object)):
            raise EngineUnavailable(f"a watch of {self.where} sent an object without a name or resourceVersion")
        return event

    def _write(self, request: ApiRequest, asked: ClusterCall) -> Object:
        answer = self._transport.call(request)
        return self._object(answer.status, answer.body, asked)

    def _object(self, status: int, body: bytes, asked: ClusterCall) -> Object:
        if not 200 <= status < 300:
            raise self._error(status, body, asked)
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._strange()
        return found

    def _strange(self) -> EngineUnavailable:
        return EngineUnavailable(f"{self.where} answers, and not as Kubernetes' API: correct the server's address")

    def _error(self, status: int, body: bytes, asked: ClusterCall) -> Exception:
        if status == GONE and asked.verb == "watch":
            return Gone()
        return refusal(status, status_of(body), asked, self.where)

    def _asked(self, verb: str, kind: ObjectKind, name: str = "", subresource: str = "") -> ClusterCall:
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        return ClusterCall(verb, kind.group, resource, self.namespace, name)


def _is_named(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("metadata"), dict) and bool(item["metadata"].get("name"))


def connect(path: Path | None, namespace: str | None, env: Mapping[str, str]) -> KubernetesApi:
    """The cluster that the settings, or kubectl's own rules, name; it is looked up at the first call.

    `path` is KUBECONFIG_PATH, `namespace` NAMESPACE, each None where unset.
    """
    return KubernetesApi(ApiTransport(partial(find_access, path, namespace, env)))


def version_pair(version: str) -> tuple[int, int] | None:
    """Major and minor number of a server's version; None where it has none.

    >>> version_pair("v1.36.2-gke.100")
    (1, 36)
    """
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None
