"""The loop that looks at the registry: whether it answers, and where the aliases are that endpoints follow.

Run by the control process. A standby looks too, and changes nothing. What is done about an alias is
decided by `core.endpoints.follow.decide`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clock import Clock, monotonic, now
from tidegate.core.endpoints.follow import Following, decide
from tidegate.core.ports import Registry, RegistryVersion
from tidegate.errors import ArtifactsUnavailable, NotLeader, TidegateError
from tidegate.services.endpoints.follows import Follows
from tidegate.services.models.registry_health import RegistryHealth

log = logging.getLogger(__name__)

BUSY_S = 0.5
"""How often a job that takes a version in is looked at."""


@dataclass(frozen=True)
class FollowDependencies:
    """The dependencies of `RegistryWatch`."""

    registry: Registry
    follows: Follows
    health: RegistryHealth
    leads: Callable[[], bool]
    poll_s: float
    clock: Clock = now
    write_aliases: Callable[[], None] = lambda: None


@dataclass
class _Look:
    """What one look at the registry found, each alias asked for once."""

    problem: str = ""
    targets: dict[tuple[str, str], tuple[RegistryVersion | None, str]] = field(default_factory=dict)


class RegistryWatch:
    """The loop that follows aliases, one step at a time."""

    def __init__(self, dependencies: FollowDependencies) -> None:
        self._dependencies = dependencies
        self._look = _Look()
        self._look_at = 0.0

    def look_again(self) -> None:
        """Something changed: the next step looks, whatever the last one saw."""
        self._look_at = 0.0

    def step(self) -> float:
        """Look, where it is time to, and act; how long until the next step."""
        dependencies = self._dependencies
        if monotonic() >= self._look_at:
            self._look = _Look(self._check())
            self._look_at = monotonic() + dependencies.poll_s
        if not dependencies.leads():
            return dependencies.poll_s
        if not self._look.problem:
            self._write_aliases()
        for following in dependencies.follows.all():
            self._follow(following)
        busy = any(following.state == "taking_in" for following in dependencies.follows.all())
        return min(BUSY_S, dependencies.poll_s) if busy else max(0.0, self._look_at - monotonic())

    def _write_aliases(self) -> None:
        """Those that promotions moved; what was read of them before is forgotten."""
        try:
            self._dependencies.write_aliases()
        except NotLeader:
            raise
        except TidegateError as error:
            log.warning("aliases are not written now: %s", error)

    def _check(self) -> str:
        """Why no alias can be read now; "" where they can. Artifacts that are away are reported, but stop no look."""
        try:
            self._dependencies.registry.check()
        except TidegateError as error:
            self._dependencies.health.failed(error)
            return "" if isinstance(error, ArtifactsUnavailable) else error.message
        self._dependencies.health.answered()
        return ""

    def _follow(self, following: Following) -> None:
        """One endpoint; what goes wrong with it leaves the others alone."""
        dependencies = self._dependencies
        try:
            step = decide(
                following, dependencies.follows.seen(following, *self._target(following)), dependencies.clock()
            )
            if dependencies.follows.apply(following, step):
                log.info("%s follows @%s: %s", following.endpoint, following.alias, step)
        except NotLeader:
            raise
        except TidegateError as error:
            log.warning("%s does not follow @%s now: %s", following.endpoint, following.alias, error)
        except Exception:
            log.exception("%s does not follow @%s now", following.endpoint, following.alias)

    def _target(self, following: Following) -> tuple[RegistryVersion | None, str]:
        """The version that the alias names, or why that is not known."""
        if self._look.problem:
            return None, self._look.problem
        key = (following.model, following.alias)
        if key not in self._look.targets:
            try:
                self._look.targets[key] = self._dependencies.registry.version_of_alias(*key), ""
            except TidegateError as error:
                self._look.targets[key] = None, error.message
        return self._look.targets[key]
