"""ID tokens for gateways, which show them to the fronts before pools (Cloud Run's). Called by the internal API.

The control plane has the credentials, a gateway has none: it gets tokens for the audiences it is sent to, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tidegate.errors import InvalidArgument
from tidegate.services.gateways.snapshots import Snapshots
from tidegate.wire.gateways.identity import IdToken
from tidegate.wire.gateways.snapshot import Snapshot, Target, decode_snapshot


@dataclass(frozen=True)
class GatewayIdTokens:
    """`make` makes a token for an audience; raises `EngineUnavailable` and `MissingExtra`."""

    snapshots: Snapshots
    make: Callable[[str], IdToken]

    def get(self, audience: str) -> IdToken:
        """For an audience of a target in the newest routing snapshot. Raises `InvalidArgument`, and as `make` does."""
        body = self.snapshots.newer(0)
        listed = _targets(decode_snapshot(body.encode())) if body is not None else ()
        if not any(target.audience == audience for target in listed):
            raise InvalidArgument(
                f"no target in the routing snapshot has audience {audience[:200]!r}", field="audience"
            )
        return self.make(audience)


def _targets(snapshot: Snapshot) -> Iterator[Target]:
    for endpoint in snapshot.endpoints:
        for variant in endpoint.variants:
            yield from variant.targets
        if endpoint.shadow is not None:
            yield from endpoint.shadow.variant.targets
