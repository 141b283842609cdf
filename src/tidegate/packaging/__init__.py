"""Model files and folders as bytes: what they are, their digest, what a pickle names, the package they become.

Used by the control plane, the replica and the runtimes alike. Never loads a model, never imports a framework.
"""

from tidegate.packaging.archive import extract_tar
from tidegate.packaging.formats import Format, ModelSource, read_source
from tidegate.packaging.pickles import PickleScan, scan_pickle
from tidegate.packaging.wrap import Package, digest_of, digest_with_name, wrap

__all__ = [
    "Format",
    "ModelSource",
    "Package",
    "PickleScan",
    "digest_of",
    "digest_with_name",
    "extract_tar",
    "read_source",
    "scan_pickle",
    "wrap",
]
