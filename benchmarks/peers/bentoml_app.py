"""BentoML with adaptive batching, as its manual shows it. Run by serving.py: `bentoml serve bentoml_app:Predictor`."""

import os

import bentoml
import numpy as np
from predictor import load


@bentoml.service(workers=1, traffic={"timeout": 60})
class Predictor:
    """One worker; calls are merged into batches of up to 64 rows."""

    def __init__(self) -> None:
        self.model = load(os.environ["MODEL"])

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=64, max_latency_ms=1000)
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities, a row for a row."""
        probabilities: np.ndarray = self.model.predict_proba(features)
        return probabilities
