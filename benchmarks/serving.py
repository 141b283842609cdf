"""How fast predictions are served: Tidegate beside other servers of the same model file and bare floors, in one run.

    python benchmarks/serving.py                       the main table: forest and logistic regression
    python benchmarks/serving.py --all --peers all     every section and every peer, about 25 minutes
    python benchmarks/serving.py --sections one,curve  some sections

Sections: main (two variants, journal on, gateway and replicas on one core), one (connection), curve (1 to 512
connections), bare (`tidegate serve`: start, memory), tensors (1,000 rows a request), flood (one row beside 1,000),
grpc. Each server is held on core 0 and loaded from core 1. Absolute figures move with the machine: quote the ratios.
Ends with a table of targets. Needs Linux, taskset and wrk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sklearn

from lib.contenders import ENVIRONMENTS
from lib.grpc_section import grpc
from lib.models import MODELS, make_model
from lib.processes import BenchmarkFailed
from lib.rounds import Plan, python_of, say
from lib.sections import SECTIONS
from lib.targets import Target, targets_table

ALL = {**SECTIONS, "grpc": (grpc, ("forest",))}
DEFAULT_PEERS = ("fastapi", "mlserver")


def main(only: Sequence[str] = ()) -> int:
    """Run the sections; 1 when an answer was wrong, a request failed or a server could not run."""
    options = _options()
    names = list(only) or (list(ALL) if options.all else _chosen(options.sections, ALL, "section"))
    peers = _chosen(options.peers, ENVIRONMENTS, "peer")
    report: dict[str, Any] = {"machine": machine_facts(), "settings": vars(options), "sections": {}, "targets": []}
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        cache = Path(options.cache)
        plan = Plan(Path(folder), cache, options.rounds, options.seconds, options.connections, peers)
        for peer in peers:
            python_of(peer, cache)
        models = {name: make_model(name, plan.folder) for name in _chosen(options.models, MODELS, "model")}
        failed = 0
        for name in names:
            section, wanted = ALL[name]
            for model in [models[one] for one in wanted if one in models]:
                say(f"{name}, {model.name}:")
                figures, reached = section(model, plan)
                targets += reached
                report["sections"][f"{name}-{model.name}"] = {key: asdict(one) for key, one in figures.items()}
                failed += sum(one.failed for one in figures.values())
    report["targets"] = [{**asdict(one), "met": one.met} for one in targets]
    if targets:
        print(f"\ntargets\n\n{targets_table(targets)}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", default="main", help=f"names by comma: {', '.join(ALL)} (default: main)")
    parser.add_argument("--all", action="store_true", help="all sections")
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help="names by comma, 'all' or 'none'")
    parser.add_argument("--models", default="all", help="forest, logistic (default: both)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median counts (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement (default 3)")
    parser.add_argument("--connections", type=int, default=32, help="connections (default 32)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tidegate-bench"
    parser.add_argument("--cache", default=str(cache), help=f"where the peers' environments are kept ({cache})")
    return parser.parse_args()


def _chosen(text: str, known: Sequence[str] | dict[str, Any], kind: str) -> list[str]:
    wanted = list(known) if text == "all" else [] if text == "none" else text.split(",")
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"unknown {kind} {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    return wanted


def machine_facts() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "system": machine.platform(),
        "cores": os.cpu_count(),
        "python": machine.python_version(),
        "scikit-learn": sklearn.__version__,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkFailed as failure:
        sys.exit(f"serving.py: {failure}")
