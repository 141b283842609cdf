"""What the project set out to reach, beside what was measured: the table that ends a run."""

from __future__ import annotations

from dataclasses import dataclass

from lib.tables import table


@dataclass(frozen=True)
class Target:
    """A goal: `measured` must be at least (`at_most`: at most) `wanted`."""

    name: str
    wanted: float
    measured: float
    unit: str = "x"
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


def targets_table(targets: list[Target]) -> str:
    """One line a target."""
    rows = [
        (
            one.name,
            f"{'at most' if one.at_most else 'at least'} {one.wanted:g} {one.unit}",
            f"{one.measured:.2f} {one.unit}",
            "yes" if one.met else "NO",
        )
        for one in targets
    ]
    return table(("target", "wanted", "measured", "met"), rows)
