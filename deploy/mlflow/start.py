"""Starts MLflow's server: with a password, and its artifacts behind it in a bucket that it makes where it is missing.

Clients need no keys for S3: they send and fetch artifacts through the server.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

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


def write_users(path: Path) -> None:
    """What the server's own users and passwords rest on: the user `admin`, made with the first start."""
    # A '%' would begin a variable in this kind of file.
    database, password = (os.environ[name].replace("%", "%%") for name in ("BACKEND_STORE_URI", "ADMIN_PASSWORD"))
    path.touch(mode=0o600)
    path.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = {database}\nadmin_username = admin\nadmin_password = {password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )


def main() -> None:
    """Become the server."""
    users = Path(os.environ.get("HOME", "/tmp")) / "auth.ini"  # noqa: S108 - its own container's
    write_users(users)
    bucket = os.environ["ARTIFACTS_BUCKET"]
    make_bucket(bucket)
    argv = ["mlflow", "server", "--host", os.environ.get("MLFLOW_HOST", "0.0.0.0")]  # noqa: S104 - its own container
    argv += ["--port", os.environ.get("MLFLOW_PORT", "5000"), "--workers", os.environ.get("MLFLOW_WORKERS", "2")]
    argv += ["--backend-store-uri", os.environ["BACKEND_STORE_URI"], "--artifacts-destination", f"s3://{bucket}"]
    argv += ["--allowed-hosts", os.environ["ALLOWED_HOSTS"], "--app-name", "basic-auth"]
    env = {**os.environ, "MLFLOW_AUTH_CONFIG_PATH": str(users)}
    os.execve(sys.executable, [sys.executable, "-m", *argv], env)  # noqa: S606 - our own argument list, no shell


if __name__ == "__main__":
    main()
