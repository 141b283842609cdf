"""Ray Serve with `@serve.batch`, as its manual shows it; serving.py runs it with a port, MODEL names the file."""

import os
import sys
import threading
from typing import Any

import joblib
import numpy as np
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=256, num_replicas=1, ray_actor_options={"num_cpus": 0.5})
class Predictor:
    """One replica; rows are merged into batches of up to 64."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def predict(self, rows: list[Any]) -> list[Any]:
        """Probabilities, a row for a row."""
        return list(self.model.predict_proba(np.asarray(rows)))

    async def __call__(self, request: Request) -> dict[str, Any]:
        probabilities = await self.predict((await request.json())["features"])
        return {"prediction": [int(probabilities.argmax())], "confidence": float(probabilities.max())}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Predictor.bind(), route_prefix="/predict")
    threading.Event().wait()
