"""Settings → objects. `build` makes the container of a control plane; what workers need of it is in `job_wiring`."""

from tidegate.wiring.build import Addresses, build, check
from tidegate.wiring.container import Container
from tidegate.wiring.running_jobs import pool_loops

__all__ = ["Addresses", "Container", "build", "check", "pool_loops"]
