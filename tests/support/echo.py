"""Starts the echoing test servers, alone and behind a real gateway."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.echo_server import MODELS
from support.gateway_bed import Bed
from support.platform import clean_env
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Target, Variant

SCRIPT = Path(__file__).with_name("echo_server.py")


@contextmanager
def running_echo(model: str, *options: str) -> Iterator[str]:
    """A replica of that model; what it said first: its port."""
    # -P: or this folder's `platform` would stand in for the standard library's.
    argv = [sys.executable, "-P", str(SCRIPT), "--model", model, *options]
    environment = clean_env(PYTHONPATH=str(SCRIPT.parents[1]))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the replica of {model} ended with {process.wait()} before it listened"
        try:
            yield line.strip()
        finally:
            process.terminate()
            assert process.wait(15) == 0


@contextmanager
def echoing_gateway(data_dir: Path) -> Iterator[int]:
    """The port of a gateway with an endpoint for each echoing model, named as the model is."""
    bed = Bed(data_dir)
    try:
        with ExitStack() as replicas:
            endpoints = []
            for name, (model, example) in MODELS.items():
                path = bed.run_dir / f"{name}.sock"
                replicas.enter_context(running_echo(name, "--uds", str(path)))
                target = Target(f"r-{name}", f"unix:{path}")
                variant = Variant(
                    name="3",
                    version="3",
                    weight=100,
                    model=name,
                    digest=name,
                    signature=model.signature,
                    example=example,
                    targets=(target,),
                    label="v3",
                    batchable=True,
                )
                endpoints.append(RoutedEndpoint(name, "salt", (variant,)))
            gateway = bed.gateway()
            bed.publish_endpoints(*endpoints)
            yield gateway.port
    finally:
        bed.close()
