"""`client.shadows`: a version that gets a copy of an endpoint's traffic, and what its answers came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

from tidegate.client.resources.options import ReadOptions, as_read
from tidegate.client.rest.api import Api
from tidegate.client.rest.paths import API, part
from tidegate.wire.experiments.shadows import ShadowRequest, ShadowView


@dataclass(frozen=True)
class ShadowsClient:
    """`client.shadows`. An endpoint has one shadow at a time."""

    api: Api

    def get(self, endpoint: str) -> ShadowView:
        """The shadow beside what answered the same requests. Raises `UnknownEndpoint`, `NoShadow`."""
        return self.api.get(_path(endpoint), ShadowView)

    def set(self, endpoint: str, version: str, share: float, **how: Unpack[ReadOptions]) -> ShadowView:
        """Copy `share` percent of the requests to a version (a number or a label) without traffic.

        Raises `Conflict` for one with traffic, `SignatureDiffers`, `UnknownVersion`, `UnknownEndpoint`,
        `InvalidArgument`.
        """
        return self.api.send("PUT", _path(endpoint), ShadowRequest(version, share), ShadowView, as_read(how))

    def end(self, endpoint: str, **how: Unpack[ReadOptions]) -> ShadowView:
        """Copy nothing more, and say what it came to. Raises `NoShadow`, `UnknownEndpoint`."""
        return self.api.send("DELETE", _path(endpoint), {}, ShadowView, as_read(how))


def _path(endpoint: str) -> str:
    return f"{API}/endpoints/{part(endpoint)}/shadow"
