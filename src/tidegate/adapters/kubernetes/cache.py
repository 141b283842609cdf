"""Objects of one kind, kept up to date by a watch in a thread: reading them asks nothing of the cluster."""

from __future__ import annotations

import logging
import threading
from typing import Any

from tidegate.adapters.kubernetes.api import Event, KubernetesApi
from tidegate.adapters.kubernetes.kinds import ObjectKind
from tidegate.adapters.kubernetes.refusals import Gone
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.errors import EngineUnavailable, TidegateError

log = logging.getLogger(__name__)

WATCH_S = 60.0
"""So long the server holds one watch; each end of one is a heartbeat, as bookmarks are."""
SILENT_S_MAX = 2 * WATCH_S + 15.0
FAILING_S_MAX = 5.0
"""Objects are shown for so long after the cluster stopped to answer: an API server that restarts is back before."""
FIRST_S_MAX = 20.0
SHORT_S = 0.5
RETRY = Backoff(first_s=0.2, longest_s=5.0)
"""Before a watch that ended within `SHORT_S`, well or not, is opened again: ever later, the more of them there were."""


class Informer:
    """A list, then a watch from there on; again a list when the server has forgotten that version.

    `changed` is set at each change, for whoever waits for one. The thread starts at the first `items()`.
    """

    def __init__(
        self,
        api: KubernetesApi,
        kind: ObjectKind,
        selector: str = "",
        *,
        clock: Clock = monotonic,
        watch_s: float = WATCH_S,
    ) -> None:
        self.changed = threading.Event()
        self._api = api
        self._kind = kind
        self._selector = selector
        self._clock = clock
        self._watch_s = watch_s
        self._lock = threading.Lock()
        self._synced = threading.Event()  # set once there is a list, or the reason why there is none
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._objects: dict[str, dict[str, Any]] | None = None
        self._version = ""
        self._heard_at = 0.0
        self._failing_since: float | None = None
        self._fault: TidegateError | None = None

    def items(self) -> list[dict[str, Any]]:
        """The objects as they were last heard of, to be read alone; the first call waits for the first list.

        Raises `EngineUnavailable` (or what else the cluster said) where they are unknown: never listed, or long ago.
        """
        self._start()
        self._synced.wait(FIRST_S_MAX)
        with self._lock:
            now = self._clock()
            failing = self._failing_since is not None and now - self._failing_since > FAILING_S_MAX
            if self._fault is not None and (self._objects is None or failing):
                raise type(self._fault)(self._fault.message, **self._fault.details)
            if self._objects is None or now - self._heard_at > max(SILENT_S_MAX, 2 * self._watch_s):
                raise EngineUnavailable(
                    f"nothing was heard of {self._kind.plural} from the Kubernetes cluster for long"
                )
            return list(self._objects.values())

    @property
    def heard_at(self) -> float:
        """When the cluster last said something, on the clock it was made with."""
        return self._heard_at

    def stop(self) -> None:
        """End the thread; returns at once. It ends with the watch that is open, within a minute."""
        self._stopped.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopped.is_set():
                name = f"kubernetes {self._kind.plural}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        short = 0
        while not self._stopped.is_set():
            began = self._clock()
            self._look()
            short = short + 1 if self._clock() - began < SHORT_S else 0
            self._stopped.wait(RETRY.delay_s(short, 0.0))

    def _look(self) -> None:
        """One watch, from its list where there is need of one, to its end, however it ends."""
        try:
            if not self._version:
                self._list()
            self._watch()
        except Gone:
            self._version = ""
        except TidegateError as error:
            self._failed(error)
        except Exception as error:
            log.exception("watching %s failed", self._kind.plural)
            self._version = ""
            self._failed(EngineUnavailable(f"watching {self._kind.plural} failed: {type(error).__name__}"))

    def _list(self) -> None:
        listed = self._api.list(self._kind, self._selector)
        with self._lock:
            self._objects = {_name(item): item for item in listed.items}
        self._version = listed.resource_version
        self._heard()
        self._synced.set()
        self.changed.set()

    def _watch(self) -> None:
        for event in self._api.watch(self._kind, self._selector, self._version, self._watch_s):
            self._take(event)
            if self._stopped.is_set():
                return
        self._heard()

    def _take(self, event: Event) -> None:
        with self._lock:
            objects = self._objects if self._objects is not None else {}
            if event.type == "DELETED":
                objects.pop(_name(event.object), None)
            elif event.type != "BOOKMARK":
                objects[_name(event.object)] = event.object
        self._version = event.resource_version
        self._heard()
        if event.type != "BOOKMARK":
            self.changed.set()

    def _heard(self) -> None:
        with self._lock:
            self._heard_at = self._clock()
            self._failing_since = self._fault = None

    def _failed(self, error: TidegateError) -> None:
        with self._lock:
            self._fault = error
            if self._failing_since is None:
                self._failing_since = self._clock()
        self._synced.set()


def _name(item: dict[str, Any]) -> str:
    return str(item["metadata"]["name"])
