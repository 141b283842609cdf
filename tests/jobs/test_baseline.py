"""The baseline job's own steps: rows that an inspection kept become a baseline that knows when they were."""

from pathlib import Path

import numpy as np
import pytest

from support.control import ME, add_version, container_at
from tidegate.errors import InvalidArgument
from tidegate.jobs.baseline import ROWS_FILE, BaselineMaker, RowsOf, RowTimes
from tidegate.runtimes.inspection.kept_rows import keep_rows
from tidegate.services.monitoring.baselines import Origin

HOURS = 24 * 28


def test_a_baseline_of_a_file_knows_the_rhythm_of_its_times(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    try:
        add_version(container, "churn", "1")
        maker = BaselineMaker(container.models, container.baselines)
        rng = np.random.default_rng(3)
        times_s = (1.7e9 + 3600.0 * np.repeat(np.arange(HOURS), 10)).astype(np.float64)
        inputs = rng.normal(size=(times_s.size, 2)) + np.sin(times_s / 86_400 * 2 * np.pi)[:, None]
        keep_rows(tmp_path / ROWS_FILE, {"input": inputs}, {"prediction": (inputs[:, 0] > 0).astype(np.int64)}, None)
        rows_of = RowsOf(Origin("file"), RowTimes(times_s, "Europe/Berlin"))
        view = maker.from_kept("churn", "1", rows_of, tmp_path, ME)
        assert view is not None
        assert view.rows == times_s.size
        known = container.baselines.known("churn", "1")
        assert known is not None
        assert known.baseline.rhythm.timezone == "Europe/Berlin"
        day = {int(hour): 20 for hour in (1.7e9 // 3600 + HOURS + np.arange(24))}
        assert known.baseline.expected(day).clustering
        with pytest.raises(InvalidArgument, match="it is not known when each was"):
            maker.from_kept("churn", "1", RowsOf(Origin("file"), RowTimes(times_s[1:])), tmp_path, ME)
    finally:
        container.close()
