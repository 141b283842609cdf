"""MLflow servers of a test session: on a database of PostgreSQL, their artifacts in S3, with users and passwords."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import httpx

from support.platform import clean_env
from support.services import missing
from support.wait import free_ports, until

USER, PASSWORD = "tidegate", "only-for-tests"
START_IN_COMPOSE = Path(__file__).parents[3] / "deploy" / "mlflow" / "start.py"


class Mlflow:
    """One server; its clients talk to S3 themselves. `kill` and `begin` may follow one another; the port stays."""

    user = USER

    def __init__(self, database_url: str, bucket: str, s3_env: dict[str, str]) -> None:
        self.port = free_ports(1)[0]
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-mlflow-"))
        self._server: subprocess.Popen[bytes] | None = None
        own = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests", "MLFLOW_DISABLE_TELEMETRY": "true"}
        own |= {"DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "0"}
        self._argv, more = self._command(database_url.replace("postgresql://", "postgresql+psycopg://"), bucket)
        self._env = clean_env(**s3_env, **own, **more)

    def _command(self, database_url: str, bucket: str) -> tuple[list[str], dict[str, str]]:
        """What starts it, and the variables that only this takes."""
        argv = [str(programs() / "mlflow"), "server", "--app-name", "basic-auth", "--backend-store-uri", database_url]
        argv += ["--default-artifact-root", f"s3://{bucket}/mlflow", "--no-serve-artifacts"]
        argv += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        users = self._folder / "auth.ini"
        users.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{self._folder / 'users.db'}\n"
            f"admin_username = {USER}\nadmin_password = {PASSWORD}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "grant_default_workspace_access = false\n"
        )
        return argv, {"MLFLOW_AUTH_CONFIG_PATH": str(users)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """What its clients need."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": self.user,
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def begin(self) -> Self:
        """Start it: `wait` waits until it answers. Its imports alone take seconds, many on a busy machine."""
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                self._argv,
                env=self._env,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def wait(self) -> Self:
        until(self._answers, 240, what="MLflow")
        return self

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self._folder / "log").read_text()
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """As a crash would, with its workers."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.killpg(server.pid, signal.SIGKILL)
            server.wait(30)

    def remove(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)


class PassingMlflow(Mlflow):
    """As Compose starts it: it passes artifacts on, so its clients need neither keys nor a way to S3."""

    user = "admin"

    def _command(self, database_url: str, bucket: str) -> tuple[list[str], dict[str, str]]:
        env = {"BACKEND_STORE_URI": database_url, "ADMIN_PASSWORD": PASSWORD, "ARTIFACTS_BUCKET": bucket}
        env |= {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(self.port), "MLFLOW_WORKERS": "1"}
        env |= {"ALLOWED_HOSTS": f"127.0.0.1:{self.port}", "HOME": str(self._folder)}
        return [str(programs() / "python"), str(START_IN_COMPOSE)], env


def programs() -> Path:
    """Where `scripts/mlflow_for_tests.sh` puts the programs."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate-tests"
    found = sorted(root.glob("mlflow-*/ready"))
    if not found:
        missing("MLflow's server")
    return found[-1].parent / "bin"
