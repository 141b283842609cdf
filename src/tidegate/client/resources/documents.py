"""`client.documents`: endpoints as documents, from files and back."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from tidegate.client.resources.endpoints import CHANGE_TIMEOUT_S, EndpointsClient
from tidegate.client.resources.options import ApplyOptions
from tidegate.client.rest.api import Api
from tidegate.client.rest.paths import API
from tidegate.errors import InvalidArgument
from tidegate.wire.endpoints.declared import ApplyAnswer, ApplyRequest, ExportAnswer

Documents = str | Path | Mapping[str, Any] | Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class DocumentsClient:
    """`client.documents`."""

    api: Api
    endpoints: EndpointsClient

    def apply(self, documents: Documents, *, dry_run: bool = False, **options: Unpack[ApplyOptions]) -> ApplyAnswer:
        """Make endpoints as documents say: all of them, or none where one cannot be. The same again changes nothing.

        `documents` is the path of a YAML file, or what such a file has: one document, or several.

            client.apply("endpoint.yaml", dry_run=True).documents[0].changes
            client.apply({"endpoint": "churn", "model": "churn", "version": "2", "replicas": 2})

        What a document leaves out stays as it is; a section that it has is whole. Waits until the versions are routed,
        unless `wait` is false. Raises `InvalidArgument` with the path of what is wrong, and what `deploy` raises.
        """
        request = ApplyRequest(
            _read(documents),
            dry_run,
            options.get("accept_signature_change", False),
            options.get("end_automation", False),
            options.get("guard", True),
        )
        done = self.api.send("POST", f"{API}/apply", request, ApplyAnswer)
        if options.get("wait", True) and not done.dry_run:
            for one in done.documents:
                if one.outcome != "unchanged":
                    asked = self.endpoints.get(one.endpoint)
                    timeout_s = options.get("timeout_s", CHANGE_TIMEOUT_S)
                    self.endpoints.wait_for(asked, timeout_s, options.get("on_progress"))
        return done

    def export(self, endpoint: str | None = None, form: str = "tidegate") -> builtins.list[dict[str, Any]]:
        """Endpoints as documents, by name: one, or all. Raises `UnknownEndpoint`."""
        asked = {"endpoint": endpoint, "format": form}
        return self.api.get(f"{API}/export", ExportAnswer, asked).documents

    def manifests(
        self,
        endpoint: str | None = None,
        form: str = "kubernetes",
        version: str | None = None,
        autoscaler: str = "engine",
    ) -> ExportAnswer:
        """One endpoint, or all, as objects of another engine (`documents`), and `warnings` of what is not in them.

            client.documents.manifests("churn", version="3").documents[0]["kind"]
            client.documents.manifests("churn", "ecs").documents[0]["input"]["family"]

        `version` where traffic is split, or another one is meant; `autoscaler` "none" leaves the engine's own out.
        Raises `UnknownEndpoint`, `UnknownVersion`, `InvalidArgument`.
        """
        asked = {"endpoint": endpoint, "format": form, "version": version, "autoscaler": autoscaler}
        return self.api.get(f"{API}/export", ExportAnswer, asked)


def _read(documents: Documents) -> builtins.list[dict[str, Any]]:
    if isinstance(documents, Mapping):
        return [dict(documents)]
    if not isinstance(documents, str | Path):
        return [dict(one) for one in documents]
    from tidegate.core.declared.yaml_text import read_text

    found = [one.data for one in read_text(Path(documents).read_text(encoding="utf-8"))]
    for one in found:
        if not isinstance(one, Mapping):
            raise InvalidArgument(f"{documents} has a document without fields: begin with 'endpoint: NAME'")
    return found
