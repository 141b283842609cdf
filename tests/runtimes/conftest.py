from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from tidegate.packaging import read_source, wrap
from tidegate.runtimes import Runtime, open_model
from tidegate.wire.replicas.manifest import Manifest

Opened = tuple[Manifest, Runtime]
Opener = Callable[..., Opened]


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    """Save an estimator as joblib and open it as `serve PATH` does."""

    def open_estimator(estimator: Any, name: str = "m") -> Opened:
        path = tmp_path / f"{name}.joblib"
        joblib.dump(estimator, path)
        return open_model(path, name, into=tmp_path / f"{name}-package", allow_pickle=True)

    return open_estimator


@pytest.fixture
def packaged(tmp_path: Path) -> Callable[..., Path]:
    """Save an estimator as joblib and wrap it into a package."""

    def package(estimator: Any, name: str = "m") -> Path:
        path = tmp_path / f"{name}.joblib"
        joblib.dump(estimator, path)
        return wrap(read_source(path), tmp_path / f"{name}-package", allow_pickle=True).dir

    return package


@pytest.fixture
def people() -> pd.DataFrame:
    """Numbers, text with leading zeros, integer categories and a column with missing values."""
    rng = np.random.default_rng(3)
    count = 160
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, count),
            "income": rng.normal(50, 10, count),
            "code": rng.choice(["007", "010", "Rome"], count),
            "plan": rng.integers(1, 4, count),
        }
    )
    frame["target"] = (frame.income + 5 * (frame.code == "007") > 52).astype(int)
    return frame
