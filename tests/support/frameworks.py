"""For tests of heavy frameworks: skipped where one is missing, unless it must be there; and a replica served alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import httpx
import pytest

from support.platform import TIDEGATE, clean_env
from support.wait import free_ports, until


def needs(*modules: str) -> None:
    """Skip the whole module, and say so; where the services are required a framework that is missing is a failure."""
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return
    why = f"{', '.join(missing)} is not installed: 'make test-frameworks' has it"
    if os.environ.get("TIDEGATE_REQUIRE_SERVICES"):
        raise RuntimeError(why)
    pytest.skip(why, allow_module_level=True)


@contextmanager
def serving(*args: str) -> Iterator[str]:
    """`tidegate serve` with these arguments, once it is ready; its address."""
    port = free_ports(1)[0]
    argv = [str(TIDEGATE), "serve", *args, "--port", str(port)]
    process = subprocess.Popen(argv, env=clean_env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        try:
            return httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(ready, 90, "serve")
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=30)
