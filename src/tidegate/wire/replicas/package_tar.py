"""A version on its way to a replica elsewhere: a tar of its manifest and of the files it is served from.

Written by the control plane, read by `tidegate.fetch`. The entries are plain files in this order: `manifest.json`, the
list of the served folder's files (`packaging.filelist`), then each of those. Of tar's many kinds there is one more, the
long names of GNU tar; a reader takes nothing else, so it makes no link, device or folder that somebody asks it to.
"""

from __future__ import annotations

from dataclasses import dataclass
from tarfile import GNU_FORMAT, TarInfo

CREDENTIAL_HEADER, DIGEST_HEADER = "X-Tidegate-Credential", "X-Tidegate-Digest"
"""Of the request: whose key it shows. Of the answer: the digest of the version that comes."""
MEDIA_TYPE = "application/x-tar"
MANIFEST, FOLDERS = "manifest.json", ("package", "form")
BLOCK_BYTES = 512
NAME_BYTES_MAX = 4096
END = bytes(2 * BLOCK_BYTES)
_FILE, _LONG_NAME = b"0", b"L"
_MODE = 0o644


class BadEntry(ValueError):
    """What is no entry of such a tar; says why."""


@dataclass(frozen=True)
class TarEntry:
    """The next file, or (`names_next`) the name of the one after it, of `size_bytes`."""

    name: str
    size_bytes: int
    names_next: bool = False


def head_of(name: str, size_bytes: int) -> bytes:
    """What stands before a file's bytes."""
    info = TarInfo(name)
    info.size, info.mode = size_bytes, _MODE
    return info.tobuf(GNU_FORMAT, "utf-8", "strict")


def padding_bytes(size_bytes: int) -> int:
    """How many zero bytes follow a file's own, up to the next block."""
    return -size_bytes % BLOCK_BYTES


def read_head(block: bytes) -> TarEntry | None:
    """The entry that a block of 512 bytes begins; None for a block of zeros, which ends a tar. Raises `BadEntry`."""
    if len(block) != BLOCK_BYTES:
        raise BadEntry("a head is cut off")
    if not any(block):
        return None
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if _number(block[148:156]) != total:
        raise BadEntry("a head's checksum is wrong")
    kind, size_bytes = block[156:157], _number(block[124:136])
    if kind not in (_FILE, _LONG_NAME):
        raise BadEntry(f"an entry is of kind {kind!r}, and plain files alone are taken")
    if any(block[157:257]):
        raise BadEntry("an entry is a link")
    if kind == _LONG_NAME and not 1 < size_bytes <= NAME_BYTES_MAX:
        raise BadEntry(f"a name has {size_bytes} bytes, and {NAME_BYTES_MAX} are allowed")
    return TarEntry(_text(block[:100]), size_bytes, names_next=kind == _LONG_NAME)


def read_name(data: bytes) -> str:
    """A long name, which is the content of its entry. Raises `BadEntry`."""
    return _text(data)


def check_name(name: str) -> tuple[str, ...]:
    """The parts of an entry's name, which all lie in the folder it is read into. Raises `BadEntry` for any other.

    >>> check_name("package/data/model.onnx")
    ('package', 'data', 'model.onnx')
    """
    parts = tuple(name.split("/"))
    if any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise BadEntry(f"the name {name[:200]!r} leads out of the folder, or nowhere")
    if name != MANIFEST and (len(parts) < 2 or parts[0] not in FOLDERS):
        raise BadEntry(f"{name[:200]!r} is no file of a version")
    return parts


def _number(field: bytes) -> int:
    """Octal digits, or where they do not do GNU's own: the first bit set, and the rest as one number."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits or any(digit not in b"01234567" for digit in digits):
        raise BadEntry("a number in a head is none")
    return int(digits, 8)


def _text(data: bytes) -> str:
    try:
        return data.partition(b"\0")[0].decode()
    except UnicodeDecodeError:
        raise BadEntry("a name is no UTF-8") from None
