"""How often an endpoint's monitors may page for nothing: a run length, shared by all of them and over time.

An error rate for each look would promise nothing over a month of looks. Here each block of rows is judged once, when it
closes, and spends as much of the budget as it took of the time: what all blocks of any 30 days spend is one false page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tidegate.errors import InvalidArgument

DAY_S = 86_400.0
SHARES: Mapping[str, float] = MappingProxyType(
    {"drift": 0.4, "performance": 0.3, "data_quality": 0.1, "label_shift": 0.1, "estimated_performance": 0.1}
)


@dataclass(frozen=True)
class Budget:
    """`false_pages` in `horizon_s`, over all monitors of an endpoint, in expectation at most.

    A block closes at `block_rows_min` rows, but not before `block_s_min` (a day, where traffic has a daily rhythm), and
    at `block_s_max` with whatever came. `shares`: each monitor's part of the budget, together at most 1.
    """

    false_pages: float = 1.0
    horizon_s: float = 30 * DAY_S
    block_rows_min: int = 500
    block_s_min: float = 0.0
    block_s_max: float = DAY_S
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)

    def __post_init__(self) -> None:
        if self.false_pages <= 0 or self.horizon_s <= 0:
            raise InvalidArgument("A budget of false pages is a number above 0 in a time above 0.", field="false_pages")
        if not 0 <= self.block_s_min <= self.block_s_max:
            raise InvalidArgument(
                f"A block cannot last {self.block_s_min:g} s at least and {self.block_s_max:g} s at most.",
                field="block_s_min",
            )
        if sum(self.shares.values()) > 1 + 1e-9 or min(self.shares.values(), default=0) < 0:
            raise InvalidArgument(
                "The monitors' shares of the budget are 0 or more, together at most 1.", field="shares"
            )

    def closes(self, rows: int, age_s: float) -> bool:
        """Whether a block of so many rows, begun so long ago, is judged now."""
        return age_s >= self.block_s_max or (rows >= self.block_rows_min and age_s >= self.block_s_min)

    def page_alpha(self, monitor: str, block_s: float) -> float:
        """The probability of a false page that a monitor may have in judging a block that took so long.

        Of a block that took longer than the longest (nothing judged it in time) no more than of that one.
        """
        if monitor not in self.shares:
            raise InvalidArgument(
                f"{monitor!r} has no share of the budget: {', '.join(self.shares)} have.", field="monitor"
            )
        spent = self.false_pages * max(0.0, min(block_s, self.block_s_max)) / self.horizon_s
        return min(1.0, self.shares[monitor] * spent)


DEFAULT = Budget()
"""One false page in 30 days."""
