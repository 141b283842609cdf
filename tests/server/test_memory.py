"""What a replica does with the memory of large requests."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import mmap, resource, sys
from tidegate.dataplane.serve import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        blocks = [bytearray(1 << 20) for _ in range(8)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert keep_freed_memory()
faults()
print(first, faults(), (8 << 20) * 50 // mmap.PAGESIZE)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_the_memory_of_large_requests_is_not_made_anew_for_each() -> None:
    said = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    first, kept, pages = map(int, said.stdout.split())
    assert first > pages // 2
    assert kept < pages // 20
