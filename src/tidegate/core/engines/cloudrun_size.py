"""How large an instance of Google Cloud Run may be, CPUs and the memory that goes with them, and how it ends. Pure."""

from __future__ import annotations

import math

from tidegate.errors import InvalidArgument

GIB, MIB = 1 << 30, 1 << 20
CPUS, MEMORY_MIB = 1, 1024
"""What a replica gets where nobody says."""
DRAIN_S_MAX = 8
"""An instance has ten seconds to end once it was told to."""
SIZES: dict[int, tuple[int, int]] = {1: (512, 4096), 2: (512, 8192), 4: (2048, 16384), 8: (4096, 32768)}
"""The least and the most MiB by CPUs: 'Configure CPU limits' and 'Configure memory limits' of its documentation, in the
second generation of its execution environment. Less than one CPU would take one request at a time only.
"""


def cloudrun_size(cpus: float | None, memory_bytes: int | None) -> tuple[int, int]:
    """The smallest size that has as much: CPUs and MiB. Raises `InvalidArgument`.

    >>> cloudrun_size(None, None), cloudrun_size(0.5, 256 * MIB)
    ((1, 1024), (1, 512))
    >>> cloudrun_size(3, GIB), cloudrun_size(1, 6 * GIB)
    ((4, 2048), (2, 6144))
    """
    wanted = CPUS if cpus is None else cpus
    memory_mib = MEMORY_MIB if memory_bytes is None else math.ceil(memory_bytes / MIB)
    for has, (least, most) in SIZES.items():
        if has >= wanted and most >= memory_mib:
            return has, max(least, memory_mib)
    raise InvalidArgument(
        f"Cloud Run has no instance with {wanted:g} CPUs and {memory_mib} MiB: it goes up to 8 CPUs and 32 GiB. Give "
        "less with --cpus and --memory",
        field="memory_bytes" if memory_mib > SIZES[8][1] else "cpus",
    )
