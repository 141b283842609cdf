"""A real replica process for gateway tests: answers `scale` times the sum of 3 features, which tells its version.

A first feature of 111 makes the model sleep for the second feature's seconds; one of 222 makes it raise, and
one of 333 ends the process. Of a row whose first feature is 444 the answer is NaN.
`REPLICA_MISBEHAVES` has it fail, sleep, stop, end or answer another shape, whatever it is asked.
"""

import argparse
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.dataplane.serve import Listen, open_socket, run_server
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec

SIGNATURE = Signature(
    "matrix",
    (TensorSpec("input", "FP64", (-1, 3)),),
    (TensorSpec("prediction", "FP64", (-1,)), TensorSpec("probabilities", "FP64", (-1, 2))),
    (0, 1),
)


class Scaled:
    """The model."""

    signature = SIGNATURE

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def predict(
        self, inputs: dict[str, np.ndarray[Any, Any]], wanted: frozenset[str] | None
    ) -> dict[str, np.ndarray[Any, Any]]:
        rows = inputs["input"]
        misbehave(os.environ.get("REPLICA_MISBEHAVES", ""))
        if (rows[:, 0] == 333).any():
            os._exit(33)
        if (rows[:, 0] == 222).any():
            raise RuntimeError("222 is too much")
        for row in rows[rows[:, 0] == 111]:
            time.sleep(row[1])
        total = np.where(rows[:, 0] == 444, np.nan, rows.sum(axis=1) * self._scale)
        if os.environ.get("REPLICA_MISBEHAVES") == "shape":
            total = np.append(total, 1.0)
        outputs = {"prediction": total, "probabilities": np.column_stack([total * 0 + 0.25, total * 0 + 0.75])}
        return {name: array for name, array in outputs.items() if wanted is None or name in wanted}


def misbehave(how: str) -> None:
    if how == "fail":
        raise RuntimeError("it fails whatever it is asked")
    if how == "slow":
        time.sleep(0.3)
    elif how == "hang":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "crash":
        os._exit(33)


def main() -> None:
    from tidegate.server.replica import build_replica  # not for the tests that import this file's signature

    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", help="that it asks for on its port")
    parser.add_argument("--version", required=True)
    parser.add_argument("--scale", type=float, required=True)
    options = parser.parse_args()
    manifest = Manifest("sums", options.version, "d" * 64, ".", "python", SIGNATURE, [1.0, 2.0, 3.0], batchable=True)
    sock = open_socket(Listen("127.0.0.1", options.port, options.uds))
    model = Scaled(options.scale)
    run_server(lambda: build_replica(manifest, model, Settings.from_env(), options.key, behind_gateway=True), sock)


if __name__ == "__main__":
    main()
