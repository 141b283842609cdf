"""How large a task of AWS Fargate may be: pairs of CPU and memory. Pure."""

from __future__ import annotations

import math

from tidegate.errors import InvalidArgument

UNITS_A_CPU = 1024
MIB = 1 << 20
CPUS, MEMORY_MIB = 0.5, 1024
"""What a replica gets where nobody says."""
SIZES: dict[int, range] = {
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
    16384: range(32768, 122880 + 1, 8192),
}
"""MiB that may go with so many units of CPU, from 0.5 CPUs on (AWS: Fargate task sizes)."""
SMALLEST_UNITS, SMALLEST_MIB = 256, (512, 1024, 2048)


def fargate_size(cpus: float | None, memory_bytes: int | None) -> tuple[int, int]:
    """The smallest size that has as much: units of CPU (1024 are one) and MiB. Raises `InvalidArgument`.

    >>> fargate_size(0.5, 1 << 30)
    (512, 1024)
    >>> fargate_size(0.6, 3 << 30), fargate_size(0.25, 6 << 30)
    ((1024, 3072), (1024, 6144))
    """
    units = math.ceil((CPUS if cpus is None else cpus) * UNITS_A_CPU)
    memory_mib = MEMORY_MIB if memory_bytes is None else math.ceil(memory_bytes / MIB)
    for has, amounts in ((SMALLEST_UNITS, SMALLEST_MIB), *SIZES.items()):
        fits = next((amount for amount in amounts if amount >= memory_mib), None)
        if has >= units and fits is not None:
            return has, fits
    raise InvalidArgument(
        f"Fargate has no task with {units / UNITS_A_CPU:g} CPUs and {memory_mib} MiB: it goes up to 16 CPUs and 120 "
        "GiB. Give less with --cpus and --memory, or run on instances of your own (TIDEGATE_ECS_LAUNCH_TYPE=EC2)",
        field="memory_bytes" if memory_mib > SIZES[16384][-1] else "cpus",
    )
