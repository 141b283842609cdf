"""A real server of the data plane whose models answer with just what reached them, in every datatype.

`tensors` gives each of its inputs back. `table` answers a row with Python's own spelling of its values, so that a test
sees every cast; a missing one is `-`. `--uds` makes it a replica for a gateway.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.dataplane.serve import Listen, open_socket, run_server
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.signature import Signature, TensorSpec

DATATYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16", "BYTES"),
)
TENSORS = Signature(
    "tensors",
    tuple(TensorSpec(f"in_{name}", name, (-1, -1)) for name in DATATYPES),
    tuple(TensorSpec(f"out_{name}", name, (-1, -1)) for name in DATATYPES),
)
TABLE = Signature(
    "columns",
    (
        TensorSpec("city", "BYTES", (-1,), nullable=True),
        TensorSpec("rooms", "INT64", (-1,), nullable=True),
        TensorSpec("price", "FP64", (-1,), nullable=True),
        TensorSpec("new", "BOOL", (-1,)),
    ),
    (TensorSpec("prediction", "BYTES", (-1,)),),
)
ONE = Signature("tensors", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))


class Tensors:
    signature = TENSORS

    def predict(self, inputs: Any, wanted: Any) -> Any:
        answers = {name.replace("in_", "out_"): array for name, array in inputs.items()}
        return {name: array for name, array in answers.items() if wanted is None or name in wanted}


class Table:
    signature = TABLE

    def predict(self, inputs: Any, wanted: Any) -> Any:
        columns = [
            [
                "-" if missing or str(value) == "nan" else repr(value)
                for value, missing in zip(inputs[spec.name].tolist(), _missing(inputs, spec.name), strict=True)
            ]
            for spec in TABLE.inputs
        ]
        return {"prediction": np.array([" ".join(row) for row in zip(*columns, strict=True)], dtype=object)}


def _missing(inputs: Any, name: str) -> Any:
    return inputs.get(f"{name}__missing", np.zeros(len(inputs[name]), dtype=bool)).tolist()


class One:
    signature = ONE

    def predict(self, inputs: Any, wanted: Any) -> Any:
        return {"y": inputs["x"]}


MODELS: dict[str, tuple[Any, Any]] = {
    "tensors": (Tensors, {f"in_{name}": ["a" if name == "BYTES" else name == "BOOL" or 1] for name in DATATYPES}),
    "table": (Table, {"city": "Bern", "rooms": 3, "price": 1.5, "new": True}),
    "one": (One, [1.0, 2.0]),
}


def main() -> None:
    from tidegate.server.replica import build_replica  # not for the tests that import this file's signatures

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=list(MODELS), required=True)
    parser.add_argument("--uds", type=Path)
    options = parser.parse_args()
    make, example = MODELS[options.model]
    model = make()
    manifest = Manifest(
        options.model, "3", "d" * 64, ".", "python", model.signature, example, label="v3", batchable=True
    )
    sock = open_socket(Listen(port=0, uds=options.uds))
    print("" if options.uds else sock.getsockname()[1], flush=True)  # noqa: T201 (read by the test)
    run_server(lambda: build_replica(manifest, model, Settings.from_env(), None), sock)


if __name__ == "__main__":
    main()
