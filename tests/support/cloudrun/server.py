"""The HTTPS server of a fake Cloud Run, with Google's token server and what else is asked of Google beside it."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from support.cloudrun.fake import FakeCloudRun, Refusal

RIGHTS = {"POST": "create", "PATCH": "update", "DELETE": "delete"}


class FakeServer:
    """Listens on a free port of 127.0.0.1. While it is `away`, connections are cut without an answer."""

    def __init__(self, fake: FakeCloudRun) -> None:
        self.fake = fake
        self.is_away = False
        self.calls: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                with suppress(ConnectionError):
                    outer.answer(self)

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_PATCH(self) -> None:
                self._answer()

            def do_DELETE(self) -> None:
                self._answer()

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = fake.authority.issue("127.0.0.1")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        self.fake.close()

    def env(self) -> dict[str, str]:
        """What has a platform meet this server instead of Google's."""
        apis = ("RUN", "LOGGING", "IAM", "CLOUDRESOURCEMANAGER", "SECRETMANAGER")
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.fake.issuer.key_file(self.fake.folder, self.url)),
            "SSL_CERT_FILE": str(self.fake.authority.ca_file),
            "TIDEGATE_CLOUDRUN_PROJECT": self.fake.project,
            "TIDEGATE_CLOUDRUN_REGION": self.fake.region,
            "TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT": f"replicas@{self.fake.project}.iam.gserviceaccount.com",
        } | {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"{self.url}/" for name in apis}

    @contextmanager
    def away(self) -> Iterator[None]:
        self.is_away = True
        try:
            yield
        finally:
            self.is_away = False

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One call."""
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        if self.is_away:
            handler.close_connection = True
            return
        split = urlsplit(handler.path)
        path, params = unquote(split.path), dict(parse_qsl(split.query))
        try:
            if path == "/token":
                status, said = self.fake.issuer.answer(dict(parse_qsl(body.decode())))
            else:
                self.calls.append(f"{handler.command} {path}")
                self._admit(handler)
                status, said = 200, self._routed(handler.command, path, params, json.loads(body) if body else {})
        except Refusal as refusal:
            status, said = refusal.code, refusal.body
        data = json.dumps({key: value for key, value in said.items() if not key.startswith("_")}).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _admit(self, handler: BaseHTTPRequestHandler) -> None:
        fake = self.fake
        token = handler.headers.get("authorization", "").removeprefix("Bearer ")
        if not fake.issuer.knows(token):
            raise Refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if fake.disabled:
            why = f"Cloud Run Admin API has not been used in project {fake.project} before or it is disabled."
            raise Refusal(403, "PERMISSION_DENIED", why, "SERVICE_DISABLED")
        if fake.throttled > 0:
            fake.throttled -= 1
            raise Refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Read requests'.")

    def _routed(self, method: str, path: str, params: Mapping[str, str], body: dict[str, Any]) -> dict[str, Any]:
        fake = self.fake
        if path == "/v2/entries:list":
            self._need("logging.logEntries.list")
            service, revision = re.findall(r'(?:service|revision)_name="([^"]*)"', body["filter"])
            return {"entries": fake.log_entries(service, revision, body["pageSize"])}
        if "/secrets" in path:
            return self._of_secrets(method, path.removeprefix(f"/v1/projects/{fake.project}/secrets"), params, body)
        if path.endswith(":testIamPermissions"):
            if "serviceAccounts" in path and f"replicas@{fake.project}" not in path:
                raise Refusal(404, "NOT_FOUND", "Unknown service account.")
            return {"permissions": [one for one in body["permissions"] if one not in fake.denied]}
        where = path.removeprefix(f"/v2/{fake.parent}/")
        if where == path:
            raise Refusal(404, "NOT_FOUND", f"Location {path} is not found or access is unauthorized.")
        parts = where.split("/")
        if parts[0] == "operations" and len(parts) == 2:
            self._need("run.operations.get")
            found = fake.operations.get(f"{fake.parent}/{where}")
            if found is None:
                raise Refusal(404, "NOT_FOUND", "Operation not found.")
            return found
        return self._of_services(method, parts, params, body)

    def _of_secrets(self, method: str, rest: str, params: Mapping[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """Secret Manager: secrets of the project, each with its versions."""
        secrets, name = self.fake.secrets, rest.strip("/").partition(":")[0]
        if method == "POST" and not name:
            self._need("secretmanager.secrets.create")
            if params["secretId"] in secrets:
                raise Refusal(409, "ALREADY_EXISTS", f"Secret [{params['secretId']}] already exists.")
            secrets[params["secretId"]] = []
            return {"name": f"projects/123/secrets/{params['secretId']}"} | body
        if name not in secrets:
            raise Refusal(404, "NOT_FOUND", f"Secret [projects/123/secrets/{name}] not found.")
        if method == "DELETE":
            self._need("secretmanager.secrets.delete")
            del secrets[name]
            return {}
        self._need("secretmanager.versions.add")
        secrets[name].append(base64.b64decode(body["payload"]["data"]).decode())
        return {"name": f"projects/123/secrets/{name}/versions/{len(secrets[name])}", "state": "ENABLED"}

    def _of_services(
        self, method: str, parts: list[str], params: Mapping[str, str], body: dict[str, Any]
    ) -> dict[str, Any]:
        fake, verb = self.fake, RIGHTS.get(method, "list" if len(parts) % 2 else "get")
        self._need(f"run.{'revisions' if 'revisions' in parts else 'services'}.{verb}")
        if method in ("POST", "PATCH"):
            self._need("iam.serviceAccounts.actAs")
        match (method, parts):
            case "GET", ["services"]:
                found = _page([self._shown(one) for one in fake.list_services()], "services", params)
            case "POST", ["services"]:
                found = fake.create(params["serviceId"], body)
            case "GET", ["services", name]:
                found = self._shown(fake.service(name))
            case "PATCH", ["services", name]:
                found = fake.update(name, body, params["updateMask"].split(",") if "updateMask" in params else [])
            case "DELETE", ["services", name]:
                found = fake.delete_service(name, params.get("etag", ""))
            case "GET", ["services", name, "revisions"]:
                found = _page(fake.list_revisions(name), "revisions", params)
            case "DELETE", ["services", name, "revisions", revision]:
                found = fake.delete_revision(name, revision)
            case _:
                raise Refusal(404, "NOT_FOUND", f"{method} {'/'.join(parts)}")
        return found

    def _shown(self, service: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in service.items() if not key.startswith("_")}

    def _need(self, permission: str) -> None:
        self.fake.used.add(permission)
        if permission in self.fake.denied:
            raise Refusal(403, "PERMISSION_DENIED", f"Permission '{permission}' denied on resource.")


def _page(found: list[dict[str, Any]], what: str, params: Mapping[str, str]) -> dict[str, Any]:
    """A page of at most two: there is a next one as soon as there are three."""
    begin = int(params.get("pageToken") or 0)
    more = {"nextPageToken": str(begin + 2)} if begin + 2 < len(found) else {}
    return {what: found[begin : begin + 2], **more}


@contextmanager
def fake_cloud_run(folder: Path) -> Iterator[FakeServer]:
    """A server, with an environment that leads there."""
    folder.mkdir(parents=True, exist_ok=True)
    server = FakeServer(FakeCloudRun(folder))
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.env().items():
                patch.setenv(name, value)
            yield server
    finally:
        server.close()
