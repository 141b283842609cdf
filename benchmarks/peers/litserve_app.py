"""LitServe with dynamic batching, as its manual shows it; serving.py runs it with a port, MODEL names the file."""

import os
import sys
from typing import Any

import litserve
import numpy as np
from predictor import load


class Predictor(litserve.LitAPI):
    """Rows are stacked, predicted once and handed back one by one."""

    def setup(self, device: str) -> None:  # noqa: ARG002 — the signature is LitServe's
        self.model = load(os.environ["MODEL"])

    def decode_request(self, request: dict[str, Any]) -> Any:
        return np.asarray(request["features"])

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self.model.predict_proba(x)

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"prediction": [int(output.argmax())], "confidence": float(output.max())}


if __name__ == "__main__":
    predictor = Predictor(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(predictor, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False
    )
