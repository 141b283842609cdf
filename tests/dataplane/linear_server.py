"""A real server of the data plane for tests: y = sum of 3 features, with probabilities; slow or failing on demand.

A first feature of 111 makes the model sleep for as many seconds as the second says; one of 222 makes it raise.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.dataplane.serve import Listen, open_socket, run_server
from tidegate.errors import UnfitInput
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec

MATRIX = Signature(
    "matrix",
    (TensorSpec("input", "FP64", (-1, 3)),),
    (TensorSpec("prediction", "FP64", (-1,)), TensorSpec("probabilities", "FP64", (-1, 2))),
    (0, 1),
)


class Linear:
    """A model that is fast, honest, and bad-tempered when told to be."""

    signature = MATRIX

    def predict(self, inputs: Any, wanted: Any) -> Any:
        rows = inputs["input"]
        if np.isnan(rows).any():
            raise UnfitInput("the model takes no NaN")
        if (rows[:, 0] == 222).any():
            raise RuntimeError("222 is too much")
        for row in rows[rows[:, 0] == 111]:
            time.sleep(row[1])
        total = rows.sum(axis=1)
        share = 1 / (1 + np.exp(-total))
        return {"prediction": total, "probabilities": np.column_stack([1 - share, share])}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uds", type=Path)
    parser.add_argument("--grpc-port", type=int)
    options = parser.parse_args()
    sock = open_socket(Listen(port=options.port, uds=options.uds))
    manifest = Manifest("linear", "7", "d" * 64, ".", "python", MATRIX, [1.0, 2.0, 3.0], label="v1.0.0", batchable=True)
    settings = Settings.from_env()
    if options.uds is None:
        print(sock.getsockname()[1], flush=True)  # noqa: T201 (read by the test)
    grpc = None if options.grpc_port is None else open_socket(Listen(port=options.grpc_port))
    run_server(lambda: build_replica(manifest, Linear(), settings, os.environ.get("TEST_KEY")), sock, grpc_sock=grpc)


if __name__ == "__main__":
    main()
