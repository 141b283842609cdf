"""Rows that repeat others: counted alike however they come in, and odd only where the baseline has fewer."""

import numpy as np
import pytest

from tidegate.watch.drift.duplicates import CHUNK_ROWS, CHUNKS_MAX, Repeats, chunk_shares, row_hashes


def _rows(count: int, distinct: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    chosen = rng.integers(distinct, size=count)
    table = {
        "number": rng.normal(size=distinct),
        "text": np.array([f"t{one}" for one in range(distinct)], dtype=object),
    }
    return {name: values[chosen] for name, values in table.items()}


def test_rows_of_the_same_values_have_one_hash_and_others_another() -> None:
    columns = {
        "x": np.array([1.0, 1.0, -0.0, 0.0, np.nan, np.nan]),
        "y": np.array(["a", "b", "c", "c", None, None], object),
    }
    found = row_hashes(columns)
    assert found[0] != found[1]
    assert found[2] == found[3]
    assert found[4] == found[5]
    assert row_hashes(columns, [5, 0]).tolist() == [found[5], found[0]]
    assert len(set(row_hashes({"x": np.arange(100_000.0), "y": np.arange(100_000.0)[::-1].copy()}).tolist())) == 100_000


def test_every_row_twice_is_half_of_the_rows() -> None:
    shares = chunk_shares(row_hashes({"x": np.repeat(np.arange(1_000.0), 2)}))
    assert shares.tolist() == [0.5] * 20
    assert chunk_shares(row_hashes({"x": np.arange(99.0)})).size == 0
    assert chunk_shares(row_hashes({"x": np.arange(1e5)})).size == CHUNKS_MAX


@pytest.mark.parametrize("cuts", [[], [37], [1, 2, 3], list(range(7, 1_000, 7))])
def test_what_was_counted_does_not_hang_on_how_it_came_in(cuts: list[int]) -> None:
    hashes = row_hashes(_rows(1_000, 50))
    found = Repeats(0.2)
    for piece in np.split(hashes, cuts):
        found = found.with_more(Repeats(0.2).with_rows(piece))
    assert found.rows == 1_000
    assert found.tail == ()


def test_the_like_of_the_baseline_is_rarely_odd_and_repeats_are_found() -> None:
    false, found = 0, 0
    for seed in range(200):
        baseline = chunk_shares(row_hashes(_rows(5_000, 400, seed)))
        start = Repeats(float(baseline.max()))
        like = start.with_rows(row_hashes(_rows(2_000, 400, seed + 1_000)))
        odd = start.with_rows(row_hashes({"x": np.repeat(np.arange(1_000.0), 2)}))
        false += like.p_value(baseline.size) <= 1e-4
        found += odd.p_value(baseline.size) <= 1e-4
    assert (false, found) == (0, 200)


def test_nothing_is_known_of_nothing() -> None:
    assert Repeats(0.0).p_value(50) == 1.0
    assert Repeats(0.0).with_rows(row_hashes({"x": np.zeros(CHUNK_ROWS)})).p_value(0) == 1.0
