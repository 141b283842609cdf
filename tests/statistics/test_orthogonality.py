"""Two experiments, one after the other, divide the same clients independently: simulated on sequential ids.

The hash that assignment takes is compared with FNV-1a, which several platforms take, and which fails this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tidegate.core.routing.assign import unit_interval

Floats = NDArray[np.float64]
UNITS = 2_000
PAIRS = 1_000
ARMS = 2

pytestmark = pytest.mark.long


def ours(salt: str) -> Floats:
    """`unit_interval` of all units. The salt is hashed once for them all, so it takes a third of the time."""
    begun = hashlib.sha256(f"{salt}\x1f".encode())
    digests = bytearray()
    for number in range(UNITS):
        one = begun.copy()
        one.update(b"%d" % number)
        digests += one.digest()[:8]
    first_53_bits = np.frombuffer(digests, ">u8").astype(np.uint64) >> np.uint64(11)
    return first_53_bits.astype(np.float64) * 2.0**-53


def fnv_1a(salt: str) -> Floats:
    """32 bits of FNV-1a of salt and unit, over 2^32."""
    hashed = np.full(UNITS, 0x811C9DC5, np.uint64)
    digits = np.array([list(f"{number:06d}".encode()) for number in range(UNITS)], np.uint64)
    for byte in salt.encode():
        hashed = ((hashed ^ np.uint64(byte)) * np.uint64(0x01000193)) & np.uint64(0xFFFFFFFF)
    for column in digits.T:
        hashed = ((hashed ^ column) * np.uint64(0x01000193)) & np.uint64(0xFFFFFFFF)
    return hashed.astype(np.float64) * 2.0**-32


def p_values(hashed: Callable[[str], Floats]) -> Floats:
    """Of the chi-square tests of independence of the arms that two salts give, for each pair of salts."""
    found = []
    for pair in range(PAIRS):
        one, other = ((hashed(f"experiment-{2 * pair + which}") * ARMS).astype(np.int64) for which in (0, 1))
        table = np.bincount(one * ARMS + other, minlength=ARMS * ARMS).reshape(ARMS, ARMS).astype(float)
        expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / UNITS
        found.append(stats.chi2.sf(((table - expected) ** 2 / expected).sum(), (ARMS - 1) ** 2))
    return np.array(found)


def test_the_units_are_those_of_assignment() -> None:
    assert ours("experiment-1")[:50].tolist() == [unit_interval("experiment-1", str(number)) for number in range(50)]


def test_arms_of_two_salts_are_independent() -> None:
    found = p_values(ours)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0.03 <= (found < 0.05).mean() <= 0.07  # 2.9 standard deviations of a thousand


def test_arms_of_two_salts_are_not_where_the_hash_is_fnv_1a() -> None:
    found = p_values(fnv_1a)
    assert stats.kstest(found, "uniform").pvalue < 1e-9
