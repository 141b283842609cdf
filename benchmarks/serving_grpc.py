"""gRPC (V2, raw tensors): requests per second of one row at a time, Tidegate beside MLServer, in one run.

The section `grpc` of serving.py alone. Each server is held on core 0 and loaded from core 1. Absolute figures move with
the machine: quote the ratios. Needs Linux and taskset.
"""

from __future__ import annotations

import sys

from lib.processes import BenchmarkFailed
from serving import main

if __name__ == "__main__":
    try:
        sys.exit(main(["grpc"]))
    except BenchmarkFailed as failure:
        sys.exit(f"serving_grpc.py: {failure}")
