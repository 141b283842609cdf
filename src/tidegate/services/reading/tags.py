"""Tags of endpoints (HTTP's ETag): what a change may name so as to undo nobody else's. Used by services and the API.

A tag stands for the spec, not for the status: it changes with each revision, and with an endpoint that is made anew.
"""

from __future__ import annotations

from tidegate.errors import ChangedMeanwhile
from tidegate.wire.endpoints.tags import Tagged, tag_of

ANY = "*"


def check_tag(endpoint: Tagged | None, name: str, match: str) -> None:
    """Raises `ChangedMeanwhile` unless the endpoint is there and has one of the tags of an `If-Match` header."""
    wanted = [one.strip() for one in match.split(",")]
    if endpoint is None:
        raise ChangedMeanwhile(
            f"there is no endpoint {name!r} (any more), and this change is for {match}", endpoint=name
        )
    if ANY not in wanted and tag_of(endpoint) not in wanted:
        raise ChangedMeanwhile(
            f"endpoint {name!r} is at revision {endpoint.revision} (tag {tag_of(endpoint)}), and this change is for "
            f"{match}: read it again, and change what is there now",
            endpoint=name,
            revision=endpoint.revision,
        )
