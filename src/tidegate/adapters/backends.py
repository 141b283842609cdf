"""All backends of a platform as one: each replica goes to the one it was placed on, and is found there again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tidegate.core.placement import Placement
from tidegate.core.ports import Backend, Handle, Observation, ReplicaSpec
from tidegate.errors import EngineUnavailable, InvalidArgument

log = logging.getLogger(__name__)


class Backends:
    """A `Backend` over others. One whose engine does not answer keeps no other from its work."""

    name = "all"

    def __init__(self, *backends: Backend) -> None:
        self._by_name = {backend.name: backend for backend in backends}

    def check(self, placement: Placement) -> None:
        self._named(placement.backend).check(placement)

    def unavailable_reason(self) -> str | None:
        return next((why for backend in self._by_name.values() if (why := backend.unavailable_reason())), None)

    def start(self, spec: ReplicaSpec) -> Handle:
        return self._named(spec.placement.backend).start(spec)

    def observe(self, handles: Sequence[Handle]) -> list[Observation | None]:
        seen: dict[int, Observation | None] = {}
        for name, backend in self._by_name.items():
            mine = [index for index, handle in enumerate(handles) if handle.backend == name]
            seen |= dict(zip(mine, backend.observe([handles[index] for index in mine]), strict=True))
        return [seen.get(index) for index in range(len(handles))]

    def stop(self, handle: Handle) -> None:
        self._named(handle.backend).stop(handle)

    def kill(self, handle: Handle) -> None:
        self._named(handle.backend).kill(handle)

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        return self._named(handle.backend).logs(handle, lines_max)

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        """Of the engines that answer; `unavailable_reason` tells of one that does not."""
        return self._of_each(lambda one: one.orphans([handle for handle in known if handle.backend == one.name]))

    def on_this_host(self) -> list[Handle]:
        """As `orphans`."""
        return self._of_each(lambda one: one.on_this_host())

    def _of_each(self, ask: Callable[[Backend], list[Handle]]) -> list[Handle]:
        found: list[Handle] = []
        for name, backend in self._by_name.items():
            try:
                found += ask(backend)
            except EngineUnavailable as error:
                log.debug("what runs on backend %s is not known: %s", name, error)
        return found

    def _named(self, name: str) -> Backend:
        try:
            return self._by_name[name]
        except KeyError:
            raise InvalidArgument(
                f"there is no backend {name!r} here: there are {', '.join(self._by_name)}", field="backend"
            ) from None
