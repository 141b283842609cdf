"""Engine `cloudrun`: each endpoint a service of Google Cloud Run, each workload a revision of it with a tag.

Implements `core.workloads.Workloads`. Nothing is remembered that matters: a service says in its annotations which
workloads it has and under which lease they were written, and its etag is the precondition of every write. Writes are
not waited for: what becomes of them is seen by `observe`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tidegate.adapters.cloudrun import key_secrets, reading
from tidegate.adapters.cloudrun import service as s
from tidegate.adapters.cloudrun.api import Changed, CloudRunApi, Refused
from tidegate.adapters.cloudrun.credentials import GoogleCredentials
from tidegate.adapters.cloudrun.place import CloudRunPlace, place_of
from tidegate.clock import monotonic
from tidegate.core.engines.cloudrun_size import DRAIN_S_MAX, cloudrun_size
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.ports import Handle
from tidegate.core.workloads import WorkloadKey, WorkloadSpec, WorkloadState
from tidegate.errors import EngineUnavailable, InvalidArgument, ModelCrashed, NotLeader, TidegateError
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest, read_manifest

log = logging.getLogger(__name__)

TRIES_MAX = 4
"""Of a write, where others change the same service meanwhile."""
FRESH_S = 30.0
"""For so long the revisions of a service that is at rest are taken to be as they were."""
TAIL_LINES, TAILS_KEPT = 20, 200

Deliver = Callable[[WorkloadSpec], Delivery]


@dataclass(frozen=True)
class CloudRunParts:
    """What the engine is made of. `place` raises `InvalidArgument` where the settings do not name one; `key_of` works
    out a replica's key from the name of its credential; `drain_s` is how long one that ends may finish what it has.
    """

    platform: str
    place: Callable[[], CloudRunPlace]
    connect: Callable[[CloudRunPlace], CloudRunApi]
    deliver: Deliver
    key_of: Callable[[str], str]
    drain_s: float


class CloudRunWorkloads:
    """Runs replicas as instances of revisions in one project and region."""

    name = s.NAME
    looks_every_s = 2.0

    def __init__(self, parts: CloudRunParts) -> None:
        self._parts = parts
        self._api: CloudRunApi | None = None
        self._failed: set[str] = set()
        self._making: dict[str, tuple[str, WorkloadState]] = {}  # services that are not there yet, by operation
        self._tails: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._seen: dict[str, tuple[str, float, dict[str, dict[str, Any]]]] = {}
        self._unused: dict[str, s.KeySecret] = {}  # keys that were kept for a revision which was not taken yet

    # -- the port ------------------------------------------------------------------------------------------------------

    def check(self, placement: Placement) -> None:
        """See the port: settings, size, credentials, and that services can be listed there."""
        cloudrun_size(placement.cpus, placement.memory_bytes)
        self._connected().services()

    def unavailable_reason(self) -> str | None:
        """What the last call came to; nothing is asked for it."""
        fault = None if self._api is None else self._api.fault
        return None if fault is None else fault.message

    def apply(self, spec: WorkloadSpec) -> None:
        """See the port. Of a workload of no replicas nothing is left: Cloud Run starts instances of what is called."""
        if spec.count <= 0:
            self.delete(spec.key, spec.token)
            return
        name, tag = s.service_name(spec.key), s.tag_of(spec.key)
        api = self._connected()
        bounds = s.bounds_of(spec, api.place.concurrency)

        def change(found: dict[str, Any]) -> None:
            facts = s.facts_of(found)
            before = facts.get(tag)
            replica = self._replica(spec, api.place, before)
            told = s.told_of(spec, bounds, replica)
            anew = before is None or before.shape != told.shape or before.revision in spec.ending
            revision = f"{name}-{tag}-{secrets.token_hex(3)}" if anew or before is None else before.revision
            facts[tag] = msgspec.structs.replace(told, revision=revision)
            facts = dict(sorted(facts.items()))
            wanted: dict[str, Any] = {"traffic": self._traffic(facts, spec.routed, found, revision)}
            if anew:
                template = s.template_of(spec, bounds, replica, revision, self._kept(spec, replica))
                wanted |= s.service_of(self._parts.platform, spec.key.endpoint, found, template, facts)
                if found:
                    api.update(name, wanted)
                else:
                    state = WorkloadState(spec.key, spec.token, spec.count)
                    self._making[name] = (api.create(name, wanted), state)
                self._unused.pop(s.credential_of(spec.key), None)
                log.info("Cloud Run makes revision %s", revision)
            elif before != facts[tag] or not s.same_traffic(found.get("traffic") or [], wanted["traffic"]):
                wanted |= {"annotations": s.annotated(found, facts), "etag": found.get("etag", "")}
                api.update(name, wanted, "annotations,traffic")

        self._changed(name, spec.token, change, self._check_ours)
        self._sweep(name)

    def observe(self) -> Sequence[WorkloadState]:
        """See the port."""
        states: list[WorkloadState] = []
        if not self._is_set_up():
            return states
        api = self._connected()
        failed: set[str] = set()
        for service in api.services():
            if not self._is_ours(service) or service.get("deleteTime"):
                continue
            name = reading.short(str(service["name"]))
            revisions = self._revisions(name, service)
            here = {one for one, revision in revisions.items() if reading.has_failed(revision)}
            failed |= here
            self._unblock(name, service, here)
            seen = reading.Seen(service, revisions, {one: self._tail(name, one) for one in here})
            for tag, facts in s.facts_of(service).items():
                key = s.workload_of(service, facts)
                if key is not None and s.tag_of(key) == tag:
                    states.append(reading.state_of(seen, key, facts))
        self._failed = failed
        return [*states, *self._not_made({state.key.endpoint for state in states})]

    def delete(self, key: WorkloadKey, token: int) -> None:
        """See the port: out of traffic first, then the revision, and with the last one the service."""
        name, tag = s.service_name(key), s.tag_of(key)
        api = self._connected()
        self._making.pop(name, None)

        def change(found: dict[str, Any]) -> None:
            facts = s.facts_of(found)
            if not self._is_ours(found) or facts.pop(tag, None) is None:
                return
            if not facts:
                api.delete(f"{api.place.parent}/services/{name}", str(found.get("etag", "")))
                self._seen.pop(name, None)
                return
            traffic = self._traffic(facts, {}, found)
            wanted = {"annotations": s.annotated(found, facts), "traffic": traffic, "etag": found.get("etag", "")}
            api.update(name, wanted, "annotations,traffic")

        self._changed(name, token, change)
        self._sweep(name)
        self._unused.pop(s.credential_of(key), None)
        if api.place.key_secrets:
            key_secrets.delete(api, self._parts.platform, s.credential_of(key))

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        """See the port: from Cloud Logging."""
        service, revision = str(handle.data.get("service", "")), str(handle.data.get("replica", ""))
        return self._connected().log_lines(service, revision, lines_max) if service else []

    def _not_made(self, there: set[str]) -> list[WorkloadState]:
        """Workloads whose service could not be made at all, as this process was told when it asked."""
        found = []
        for name, (operation, state) in list(self._making.items()):
            done, error = (True, "") if state.key.endpoint in there else self._connected().operation_error(operation)
            if error:
                found.append(replace(state, problem=f"Cloud Run did not make service {name}: {error}"))
            elif done:
                del self._making[name]
        return found

    # -- writing -------------------------------------------------------------------------------------------------------

    def _changed(
        self,
        name: str,
        token: int,
        change: Callable[[dict[str, Any]], None],
        check: Callable[[str, Mapping[str, Any]], None] = lambda _name, _found: None,
    ) -> None:
        """Have `change` write by the service as it is (empty: there is none), anew where somebody else was quicker."""
        api = self._connected()
        for _ in range(TRIES_MAX):
            found = api.service(name) or {}
            check(name, found)
            newest = max((one.token for one in s.facts_of(found).values()), default=0)
            if newest > token and self._is_ours(found):
                raise NotLeader(f"a younger lease ({newest}) has written service {name}: this one ({token}) ended")
            if found.get("deleteTime"):
                raise EngineUnavailable(f"Cloud Run still deletes the older service {name}: it is tried again")
            try:
                change(found)
            except Changed:
                continue
            except Refused as error:
                raise EngineUnavailable(f"Cloud Run does not change service {name} now ({error})") from error
            return
        raise EngineUnavailable(f"others change service {name} at the same time, again and again: it is tried again")

    def _is_ours(self, service: Mapping[str, Any]) -> bool:
        return (service.get("labels") or {}).get(s.PLATFORM) == self._parts.platform

    def _check_ours(self, name: str, found: Mapping[str, Any]) -> None:
        owner = (found.get("labels") or {}).get(s.PLATFORM)
        if found and not self._is_ours(found):
            whose = f"another platform ({owner}) has it" if owner else "no platform made it"
            place = self._connected().place
            raise InvalidArgument(
                f"there is a service {name} on Cloud Run already, and {whose}: deploy under another name, or delete it "
                f"(gcloud run services delete {name} --project {place.project} --region {place.region})",
                field="endpoint",
            )

    def _traffic(
        self, facts: Mapping[str, s.Facts], routed: Mapping[str, float], found: Mapping[str, Any], new: str = ""
    ) -> list[dict[str, Any]]:
        """Without revisions that failed: one of them keeps the whole of a service's traffic from being changed."""
        usable = {tag: one for tag, one in facts.items() if one.revision == new or one.revision not in self._failed}
        return s.traffic_of(usable or facts, routed, found.get("traffic") or [])

    def _unblock(self, name: str, service: Mapping[str, Any], failed: set[str]) -> None:
        """Take revisions that failed out of traffic: one of them keeps the whole service's from being changed, and the
        tag of one that became ready beside it is given to nobody. Nothing of what is asked for changes.
        """
        facts = s.facts_of(service)
        usable = {tag: one for tag, one in facts.items() if one.revision not in failed}
        traffic = service.get("traffic") or []
        if not usable or not failed & {str(one.get("revision", "")) for one in traffic}:
            return
        wanted = {"traffic": s.traffic_of(usable, {}, traffic), "etag": service.get("etag", "")}
        with contextlib.suppress(Changed, Refused, TidegateError):  # the next look tries again
            self._connected().update(name, wanted, "traffic")

    def _sweep(self, name: str) -> None:
        """Delete revisions that no workload has any more. Cloud Run keeps the latest one, and those that still end:
        these cost nothing, and go with the next change, or with the service.
        """
        api = self._connected()
        service = api.service(name)
        if service is None or service.get("deleteTime") or not self._is_ours(service):
            return
        kept = {one.revision for one in s.facts_of(service).values()}
        kept |= {str(one.get("revision", "")) for one in service.get("traffic") or []}
        kept |= {reading.short(str(one.get("revision", ""))) for one in service.get("trafficStatuses") or []}
        kept.add(reading.short(str(service.get("latestCreatedRevision", ""))))
        for revision in api.revisions(name):
            if reading.short(str(revision["name"])) in kept or revision.get("deleteTime"):
                continue
            try:
                api.delete(str(revision["name"]))
            except (Changed, Refused, InvalidArgument) as error:
                log.debug("revision %s stays for now: %s", revision["name"], error)

    def _replica(self, spec: WorkloadSpec, place: CloudRunPlace, before: s.Facts | None) -> s.ReplicaContainer:
        """What is there keeps its image, also where another one would be delivered by now (an upgrade of Tidegate, one
        that is still built): so it is scaled, and its traffic changed, meanwhile. Only what is made anew asks for one.
        """
        kept = "" if before is None or before.revision in spec.ending else before.image
        image = kept or self._delivered(spec, place)
        key = self._parts.key_of(s.credential_of(spec.key))
        return s.ReplicaContainer(
            image,
            key,
            _manifest(spec).digest,
            place.service_account,
            place.concurrency,
            self._parts.drain_s,
            in_secret=place.key_secrets,
        )

    def _kept(self, spec: WorkloadSpec, replica: s.ReplicaContainer) -> s.KeySecret | None:
        """Where the key is for a revision that is made anew: in a version of its own, however many tries it takes."""
        if not replica.in_secret:
            return None
        credential = s.credential_of(spec.key)
        if credential not in self._unused:
            kept = key_secrets.keep(self._connected(), self._parts.platform, credential, replica.key)
            self._unused[credential] = kept
        return self._unused[credential]

    def _delivered(self, spec: WorkloadSpec, place: CloudRunPlace) -> str:
        delivery = self._parts.deliver(spec)
        if delivery.fetch is not None:
            raise InvalidArgument(
                f"Cloud Run needs an image with the model in it: run 'tidegate build {spec.model}:{spec.key.version} "
                "--push' with TIDEGATE_IMAGE_REGISTRY set to a repository of Artifact Registry "
                f"({place.region}-docker.pkg.dev/{place.project}/REPOSITORY)",
                field="backend",
            )
        s.check_image(delivery.image, place.project, place.region)
        return delivery.image

    # -- looking -------------------------------------------------------------------------------------------------------

    def _revisions(self, name: str, service: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        etag, kept = str(service.get("etag", "")), self._seen.get(name)
        if kept and kept[0] == etag and monotonic() - kept[1] < FRESH_S and not service.get("reconciling"):
            return kept[2]
        found = {reading.short(str(one["name"])): one for one in self._connected().revisions(name)}
        self._seen[name] = (etag, monotonic(), found)
        return found

    def _tail(self, service: str, revision: str) -> tuple[str, ...]:
        """The last lines of a revision that failed, asked for once; none where the log is not to be had."""
        if revision not in self._tails:
            try:
                self._tails[revision] = tuple(self._connected().log_lines(service, revision, TAIL_LINES))
            except Exception as error:
                log.debug("the log of %s is not to be had: %s", revision, error)
                self._tails[revision] = ()
            while len(self._tails) > TAILS_KEPT:
                self._tails.popitem(last=False)
        return self._tails[revision]

    def _is_set_up(self) -> bool:
        try:
            self._connected()
        except InvalidArgument:  # nothing of this platform can be there
            return False
        return True

    def _connected(self) -> CloudRunApi:
        if self._api is None:
            self._api = self._parts.connect(self._parts.place())
        return self._api


def _manifest(spec: WorkloadSpec) -> Manifest:
    try:
        return read_manifest(spec.manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelCrashed(f"the manifest {spec.manifest} cannot be read: {error}") from error


def build(
    settings: Callable[[], Settings],
    env: Mapping[str, str],
    platform: str,
    deliver: Deliver,
    key_of: Callable[[str], str],
) -> CloudRunWorkloads:
    """The engine as the settings say, connected when it is first asked. `env` may name other addresses of APIs."""
    credentials = GoogleCredentials()
    parts = CloudRunParts(
        platform,
        lambda: place_of(settings(), env),
        lambda place: CloudRunApi(place, credentials),
        deliver,
        key_of,
        min(settings().drain_s, DRAIN_S_MAX),
    )
    return CloudRunWorkloads(parts)
