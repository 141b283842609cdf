"""What the environment of a replica's container says, on every engine and in every manifest. Pure.

How each writes it down, and whether the replica's key (`KEY`) stands there or is a reference, is its own.
"""

from __future__ import annotations

from collections.abc import Mapping

KEY = "TIDEGATE_API_KEY"
THREADS = ("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""How many threads numeric libraries compute with."""


def replica_env(version: str, drain_s: float, cpus: float, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """The version, how long a replica may finish what it has (seconds), and a thread for each whole processor.

    `own` is the environment of the platform itself, where what that says of threads counts for replicas too.

    >>> replica_env("3", 20, 2.5)["OMP_NUM_THREADS"], replica_env("3", 20, 0.5)["OMP_NUM_THREADS"]
    ('2', '1')
    """
    return {"MODEL_VERSION": version, "TIDEGATE_DRAIN_S": f"{drain_s:g}", **thread_env(cpus, own or {})}


def thread_env(cpus: float, own: Mapping[str, str]) -> dict[str, str]:
    """A thread for each whole processor, at least one, but where `own`, the platform's environment, says how many."""
    threads = str(max(1, int(cpus)))
    return {name: own.get(name, threads) for name in THREADS}


def by_name(env: Mapping[str, str]) -> list[dict[str, str]]:
    """As containers have it on ECS and Cloud Run, in the order of the names.

    >>> by_name({"B": "2", "A": "1"})
    [{'name': 'A', 'value': '1'}, {'name': 'B', 'value': '2'}]
    """
    return [{"name": name, "value": value} for name, value in sorted(env.items())]
