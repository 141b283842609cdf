"""Starts MLflow's server: makes the bucket of its artifacts where it is missing, and keeps the artifacts behind itself.

Clients need no keys for S3: they send and fetch artifacts through the server.
"""

from __future__ import annotations

import os
import sys

import boto3
from botocore.exceptions import ClientError


def make_bucket(name: str) -> None:
    """Nothing happens where it is there. An S3 server that refuses the keys ends this process, and its log says why."""
    s3 = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        s3.create_bucket(Bucket=name)


def main() -> None:
    """Become the server."""
    bucket = os.environ["ARTIFACTS_BUCKET"]
    make_bucket(bucket)
    argv = ["mlflow", "server", "--host", os.environ.get("MLFLOW_HOST", "0.0.0.0")]  # noqa: S104 - its own container
    argv += ["--port", os.environ.get("MLFLOW_PORT", "5000"), "--workers", os.environ.get("MLFLOW_WORKERS", "2")]
    argv += ["--backend-store-uri", os.environ["BACKEND_STORE_URI"], "--artifacts-destination", f"s3://{bucket}"]
    argv += ["--allowed-hosts", os.environ["ALLOWED_HOSTS"]]
    # Not in the environment of the server: it would take them for a client's.
    for name in ("BACKEND_STORE_URI", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    os.execv(sys.executable, [sys.executable, "-m", *argv])  # noqa: S606 - our own argument list, no shell


if __name__ == "__main__":
    main()
