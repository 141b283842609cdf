"""The control plane's door to model packages: the same functions that the replica uses, on bytes only."""

from tidegate.packaging import (
    Package,
    PickleScan,
    Source,
    digest_of,
    digest_with_name,
    extract_tar,
    read_source,
    scan_pickle,
    wrap,
)

__all__ = [
    "Package",
    "PickleScan",
    "Source",
    "digest_of",
    "digest_with_name",
    "extract_tar",
    "read_source",
    "scan_pickle",
    "wrap",
]
