"""What belongs to a Deployment: Secret, Service, PodDisruptionBudget, HorizontalPodAutoscaler. Used by `workloads`.

They are owned by it, so the cluster deletes them with it; here they are made, made again where they are missing, and
deleted by name, should the Deployment have gone before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.adapters.kubernetes.cache import Informer
from tidegate.adapters.kubernetes.kinds import AUTOSCALER, POD_DISRUPTION_BUDGET, SECRET, SERVICE, ObjectKind
from tidegate.adapters.kubernetes.reading import scaling_problem
from tidegate.clock import Clock, monotonic
from tidegate.core.manifests.replica_pods import PLATFORM, Belonging, Workload
from tidegate.errors import ChangedMeanwhile, Conflict, EngineDenied, EngineRefused, EngineUnavailable

log = logging.getLogger(__name__)

Object = dict[str, Any]

FAULTY_AGAIN_S = 60.0
"""After so long it is looked whether what somebody else held is let go of."""
SECRET_AGAIN_S = 45.0
"""After so long it is looked whether somebody changed or deleted a Secret, which no watch shows."""


class Belongings:
    """Remembers what it made of which Deployment, so that what is as it should be costs no calls."""

    def __init__(
        self, api: KubernetesApi, key_of: Callable[[str], str], selector: str, clock: Clock = monotonic
    ) -> None:
        self._api = api
        self._clock = clock
        self._key_of = key_of
        self._shown = {kind: Informer(api, kind, selector) for kind in (SERVICE, POD_DISRUPTION_BUDGET, AUTOSCALER)}
        self._made: dict[str, tuple[str, Object | None, Object | None]] = {}
        self._faults: dict[str, tuple[str, float]] = {}  # what, and when it is looked at again
        self._secrets: dict[str, tuple[str, float]] = {}  # the same of the Secret alone

    def check(self, work: Workload) -> None:
        """Raises `InvalidArgument` for what cannot be made."""
        Belonging(work, "").autoscaler()

    def close(self) -> None:
        """End the watches."""
        for informer in self._shown.values():
            informer.stop()

    def make(self, work: Workload, uid: str, *, again: bool) -> None:
        """Make what belongs to the Deployment with this uid; `again`: also where all that can be seen is there.

        A Secret cannot be watched, as no right to look at others' is asked for: it is applied again now and then. Where
        that is denied, what else there is to do is done all the same: pods that run have their key.
        """
        is_needed = again or self._made.get(work.name, ("",))[0] != uid
        if is_needed or self._secrets.get(work.name, ("", 0.0))[1] <= self._clock():
            self._make_secret(work, uid, is_needed=is_needed)
        own = Belonging(work, uid)
        budget, autoscaler = own.budget(), own.autoscaler()
        wanted = uid, budget, autoscaler
        kinds = {SERVICE: True, POD_DISRUPTION_BUDGET: budget is not None, AUTOSCALER: autoscaler is not None}
        there = all(self._is_shown(kind, work.name) for kind, is_wanted in kinds.items() if is_wanted)
        if self._made.get(work.name) == wanted and there and not again and not self._is_due(work.name):
            return
        faults = [
            self._apply(own.service()),
            self._make_or_delete(POD_DISRUPTION_BUDGET, work, budget),
            self._make_or_delete(AUTOSCALER, work, autoscaler),
        ]
        self._made[work.name] = wanted
        self._faults[work.name] = "; ".join(filter(None, faults)), self._clock() + FAULTY_AGAIN_S

    def fault(self, name: str) -> str:
        """What others made of what belongs to a Deployment, or why it does no good, in words; empty for nothing."""
        scalers = [one for one in self._shown[AUTOSCALER].items() if one["metadata"]["name"] == name]
        faults = (kept.get(name, ("", 0.0))[0] for kept in (self._secrets, self._faults))
        return "; ".join(filter(None, (*faults, *map(scaling_problem, scalers))))

    def delete(self, name: str, platform: str) -> None:
        """Delete what belongs to a Deployment that is gone, or going."""
        self._made.pop(name, None)
        self._faults.pop(name, None)
        self._secrets.pop(name, None)
        for kind in (AUTOSCALER, POD_DISRUPTION_BUDGET, SERVICE, SECRET):
            self._delete(kind, name, platform)

    def _make_secret(self, work: Workload, uid: str, *, is_needed: bool) -> None:
        try:
            fault = self._apply(Belonging(work, uid).secret(self._key_of(work.name)))
        except (EngineDenied, EngineRefused) as error:
            if is_needed:
                raise
            fault = error.message
        else:
            fault += "; pods that started since then refuse the gateways, so delete those too" if fault else ""
        self._secrets[work.name] = fault, self._clock() + SECRET_AGAIN_S

    def _is_due(self, name: str) -> bool:
        fault, again_at = self._faults.get(name, ("", 0.0))
        return bool(fault) and self._clock() >= again_at

    def _is_shown(self, kind: ObjectKind, name: str) -> bool:
        return any(one["metadata"]["name"] == name for one in self._shown[kind].items())

    def _make_or_delete(self, kind: ObjectKind, work: Workload, manifest: Object | None) -> str:
        if manifest is not None:
            return self._apply(manifest)
        self._delete(kind, work.name, work.platform)  # 'kubectl autoscale' gives somebody else's the same name
        return ""

    def _apply(self, manifest: Object) -> str:
        """Why it is not as it should be, where somebody else holds it: that is not fought over."""
        try:
            self._api.apply(manifest)
        except Conflict as error:
            return error.message
        except ChangedMeanwhile as error:
            raise EngineUnavailable(f"{error.message}; it is tried again") from error
        return ""

    def _delete(self, kind: ObjectKind, name: str, platform: str) -> None:
        found = self._api.get(kind, name)
        if found is not None and (found["metadata"].get("labels") or {}).get(PLATFORM) == platform:
            try:
                self._api.delete(kind, name, uid=str(found["metadata"]["uid"]))
            except ChangedMeanwhile:
                log.debug("%s %s was made anew meanwhile", kind.name, name)
