"""The fake AWS over HTTPS: checks signatures' scope and shapes, counts calls, and fails as it is told to."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from support.ecs.api import EcsApi
from support.ecs.cluster import Cluster
from support.ecs.others import LogsApi, SsmApi, query
from support.ecs.shapes import JSON_SERVICES, ApiError, check_answer, check_request
from support.ecs.state import CLUSTER, GROUPS, REGION, ROLE, SUBNETS
from support.tls import Authority

KEY_ID, SECRET = "AKIATESTSTESTSTESTS0", "a-secret-of-the-tests"
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
SERVICES = ("ECS", "CLOUDWATCH_LOGS", "SSM", "EC2", "IAM", "STS")


class FakeAws:
    """One region of AWS with one cluster. `env` is what boto3 finds it by."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster()
        self.calls: Counter[str] = Counter()
        self.refusals: dict[str, ApiError] = {}
        """By operation, or '*': what is answered in its place."""
        self._away = False
        self._apis: dict[str, Any] = {
            "ecs": EcsApi(self.cluster),
            "logs": LogsApi(self.cluster),
            "ssm": SsmApi(self.cluster),
        }
        authority = Authority(folder)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._server.socket = authority.issue("127.0.0.1").wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._ca_file = authority.ca_file
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}"

    @property
    def env(self) -> dict[str, str]:
        """Credentials, region, and where each service is, for boto3; settings of the platform."""
        return {
            **{f"AWS_ENDPOINT_URL_{service}": self.url for service in SERVICES},
            "AWS_CA_BUNDLE": str(self._ca_file),
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self._ca_file.parent / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self._ca_file.parent / "no-credentials"),
            "AWS_REGION": REGION,
            "TIDEGATE_ECS_CLUSTER": CLUSTER,
            "TIDEGATE_ECS_SUBNETS": ",".join(SUBNETS),
            "TIDEGATE_ECS_SECURITY_GROUPS": ",".join(GROUPS),
            "TIDEGATE_ECS_EXECUTION_ROLE": ROLE,
        }

    def close(self) -> None:
        """End the server and every task."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.cluster.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Connections are closed without an answer."""
        self._away = True
        try:
            yield
        finally:
            self._away = False

    @contextmanager
    def refusing(self, error: ApiError, operation: str = "*") -> Iterator[None]:
        """This operation, or all, is answered so."""
        self.refusals[operation] = error
        try:
            yield
        finally:
            del self.refusals[operation]

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        """Content type and body. Raises `ApiError`, `ConnectionError` while away."""
        if self._away:
            raise ConnectionError
        prefix, _, operation = headers.get("x-amz-target", "").rpartition(".")
        if prefix:
            service = JSON_SERVICES[prefix]
            self._admit(headers, service, operation)
            return "application/x-amz-json-1.1", json.dumps(self._called(service, operation, json.loads(body))).encode()
        form = dict(parse_qsl(body.decode()))
        self._admit(
            headers, {"DescribeSubnets": "ec2", "DescribeSecurityGroups": "ec2"}.get(form["Action"]), form["Action"]
        )
        return "text/xml", query(form["Action"], form).encode()

    def _called(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        check_request(service, operation, request)
        with self.cluster.lock:
            answer: dict[str, Any] = getattr(self._apis[service], operation)(request)
        check_answer(service, operation, answer)
        return answer

    def _admit(self, headers: dict[str, str], service: str | None, operation: str) -> None:
        self.calls[operation] += 1
        found = _SCOPE.match(headers.get("authorization", ""))
        if found is None or found[1] != KEY_ID:
            raise ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if service is not None and (found[2], found[3]) != (REGION, service):
            raise ApiError("InvalidSignatureException", "Credential should be scoped to a valid region.")
        refusal = self.refusals.get(operation) or self.refusals.get("*")
        if refusal is not None:
            raise refusal


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeAws

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            kind, answer = self.server.fake.answer(headers, body)
            status = 200
        except ConnectionError:
            self.close_connection = True
            return
        except ApiError as error:
            status, (kind, answer) = error.status, _error(headers, error)
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base's name)
        """Nothing on the tests' output."""


def _error(headers: dict[str, str], error: ApiError) -> tuple[str, bytes]:
    if "x-amz-target" in headers:
        told = {"__type": error.code, "message": error.message}
        return "application/x-amz-json-1.1", json.dumps(told).encode()
    inner = f"<Code>{error.code}</Code><Message>{error.message}</Message>"
    return "text/xml", f"<Response><Errors><Error>{inner}</Error></Errors></Response>".encode()
