"""A real replica process for gRPC tests: answers every tensor it is given, one of each datatype, under its own name."""

import argparse
import os
from typing import Any

from tidegate.dataplane.serve import Listen, open_socket, run_server
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec

DATATYPES = (
    "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BF16 BYTES".split()  # noqa: SIM905
)
SPECS = tuple(TensorSpec(f"of_{name.lower()}", name, (-1, -1)) for name in DATATYPES)


class Echo:
    """The model."""

    signature = Signature("tensors", SPECS, SPECS)

    def predict(self, inputs: Any, wanted: Any) -> Any:
        return {name: array for name, array in inputs.items() if wanted is None or name in wanted}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    options = parser.parse_args()
    manifest = Manifest("echo", "3", "d" * 64, ".", "python", Echo.signature, {}, batchable=True)
    http, grpc = (open_socket(Listen(port=port)) for port in (options.port, options.grpc_port))
    key = os.environ.get("TEST_KEY")
    run_server(lambda: build_replica(manifest, Echo(), Settings.from_env(), key), http, grpc_sock=grpc)


if __name__ == "__main__":
    main()
