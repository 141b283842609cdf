"""Panels and dashboards as they are written down, and the queries that several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RATE = "[$__rate_interval]"
ONE = 'endpoint="$endpoint"'
CHOSEN = f'{ONE}, version=~"$version"'
ROUTED = f'{ONE}, version!=""'
"""Without requests that were refused before a version was chosen."""


@dataclass(frozen=True)
class Panel:
    """A graph (or a number, or a heat map) of queries, each with what its lines are called."""

    title: str
    meaning: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "graph"
    width: int = 8


@dataclass(frozen=True)
class Board:
    """A dashboard; `variables` are labels to choose from, with the metric that has them."""

    name: str
    title: str
    about: str
    variables: Sequence[tuple[str, str]]
    panels: Sequence[Panel]


def quantiles(metric: str, labels: str, by: str, legend: str) -> list[tuple[str, str]]:
    """p50, p95 and p99 of a histogram."""
    rate = f"sum by ({by}, le) (rate({metric}_bucket{{{labels}}}{RATE}))"
    return [(f"histogram_quantile({share}, {rate})", f"{legend} {name}") for name, share in _SHARES.items()]


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def errors(labels: str, by: str) -> str:
    """The share of the requests that failed."""
    failed = f'sum by ({by}) (rate(model_requests_total{{{labels}, code=~"5.."}}{RATE}))'
    return f"{failed} / (sum by ({by}) (rate(model_requests_total{{{labels}}}{RATE})) > 0)"


def quality(labels: str) -> str:
    """What is measured in production, and what the versions scored at the validation gate."""
    return (
        f'label_replace(max by (version, metric) (model_quality{{{labels}}}), "of", "production", "", "") or '
        f'label_replace(max by (version, metric) (model_validation_score{{{labels}}}), "of", "validation gate", "", "")'
    )


QUALITY_MEANING = (
    "By metric: of production where it is measured, and the score of the validation gate. Nothing: unknown."
)
VERSION, ENDPOINT = "version {{version}}", "{{endpoint}}"
