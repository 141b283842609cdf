"""Which variant a unit gets: a hash of salt and unit against cumulative weights. Pure; called by the gateway's routing.

The vectors in `docs/assignment-vectors.json` let any other program, in any language, give the same answers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import accumulate
from struct import Struct

_FIRST_64_BITS = Struct(">Q24x").unpack
_STEP = 2.0**-53


def unit_interval(salt: str, unit: str) -> float:
    """A number in [0, 1) that depends on salt and unit only: 53 bits, so exact in every language with doubles."""
    first_64_bits: int = _FIRST_64_BITS(sha256(f"{salt}\x1f{unit}".encode("utf-8", "surrogatepass")).digest())[0]
    return (first_64_bits >> 11) * _STEP


def variant_order(names: Iterable[str]) -> list[str]:
    """The order in which variants share out [0, 1): numbers by value, then names by code point.

    It depends on the names alone, never on weights or on the order of arrival. So each variant's interval keeps its
    neighbours, and when one weight is raised while no other is, that variant's interval only grows: nobody leaves it.
    """
    return sorted(names, key=lambda name: (0, int(name), name) if _is_number(name) else (1, 0, name))


class Assignment:
    """Variants with weights, ready to be asked. Weights may add up to any positive number."""

    __slots__ = ("_bounds", "names")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.names = variant_order(name for name, weight in weights.items() if weight > 0)
        cumulative = list(accumulate(weights[name] for name in self.names))
        # The last variant's end is left out: whatever lies past the others is its own, so rounding loses nobody.
        self._bounds = [end / cumulative[-1] for end in cumulative[:-1]]

    def index(self, salt: str, unit: str) -> int:
        """The place in `names` of the unit's variant. Needs at least one variant with weight."""
        return bisect_right(self._bounds, unit_interval(salt, unit))

    def variant(self, salt: str, unit: str) -> str:
        """The name of the unit's variant; `LookupError` where no variant has weight."""
        if not self.names:
            raise LookupError("no variant has weight")
        return self.names[self.index(salt, unit)]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
