"""An S3 server of a test session (moto's), on a free port. It keeps everything in memory: a restart is an empty one."""

from __future__ import annotations

import subprocess
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import ClientError

from support.services.mlflow import programs
from support.wait import free_ports, until

KEY, SECRET, BUCKET = "tidegate-tests", "only-for-tests", "models"
PASSED_ON = "passed-on"
"""The bucket of the MLflow server that passes artifacts on; it makes it itself."""


class S3:
    """One server. `stop` and `start` may follow one another; the port stays."""

    def __init__(self) -> None:
        self._program = programs() / "moto_server"
        self.port = free_ports(1)[0]
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """What its clients need."""
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
        return keys | {"MLFLOW_S3_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def start(self) -> S3:
        """Start it, empty, and wait until it answers."""
        argv = [str(self._program), "-H", "127.0.0.1", "-p", str(self.port)]
        self._server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers, what="the S3 server")
        return self

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, "the S3 server ended"
        try:
            return httpx.get(f"{self.url}/moto-api/data.json", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def make_bucket(self, bucket: str = BUCKET) -> None:
        self._client().create_bucket(Bucket=bucket)

    def copy(self) -> dict[str, bytes]:
        """Every object, for a server that comes back with its disk."""
        client = self._client()
        keys = [item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def put_back(self, copied: dict[str, bytes]) -> None:
        for key, body in copied.items():
            self._client().put_object(Bucket=BUCKET, Key=key, Body=body)

    def refuse_keys(self, refuse: bool) -> None:
        """Whether every key is one it does not know (it knows none), or any will do."""
        until(lambda: self._set_actions_without_key("0" if refuse else "inf"), what="the S3 server's change of mind")

    def _set_actions_without_key(self, count: str) -> bool:
        headers = {"Content-Type": "application/octet-stream"}
        httpx.post(f"{self.url}/moto-api/reset-auth", content=count, headers=headers).raise_for_status()
        try:
            self._client().list_buckets()
        except ClientError:
            return count == "0"
        return count != "0"

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}),
        )

    def stop(self) -> None:
        """End it, with all it has."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.wait(30)
