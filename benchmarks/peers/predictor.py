"""The model file a peer is given: joblib through scikit-learn, or the same model as ONNX through ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np


class Estimator:
    """A scikit-learn estimator."""

    def __init__(self, path: str) -> None:
        import joblib

        self.model = joblib.load(path)

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities."""
        return self.model.predict_proba(rows)

    def both(self, rows: Any) -> tuple[Any, Any]:
        """Labels and probabilities, each asked for: the plain way."""
        return self.model.predict(rows), self.model.predict_proba(rows)


class Session:
    """An ONNX graph with labels and probabilities, on one thread."""

    def __init__(self, path: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def both(self, rows: Any) -> tuple[Any, Any]:
        """Labels and probabilities in one run."""
        labels, probabilities = self.session.run(self.outputs, {self.input: np.asarray(rows, dtype=np.float32)})
        return labels, probabilities

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities."""
        return self.both(rows)[1]


def load(path: str) -> Estimator | Session:
    """By the file's ending."""
    return Session(path) if Path(path).suffix == ".onnx" else Estimator(path)
