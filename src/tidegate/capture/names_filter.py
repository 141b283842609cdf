"""Which ids and keys a Parquet file may have, as a Bloom filter in its footer, so that a file without any of those that
are looked for is passed over unread. Pure; written by `compact.write_parquet`, asked by `store`.

The footer's entry `tidegate.names.1` is base64 of the filter's bits. A name is hashed by BLAKE2b to 64 bits (an id
after a byte 0, a key after a byte 1); its halves a and b (made odd) give the places a + i·b modulo the bits,
for i from 0 to 21 (Kirsch and Mitzenmacher, "Less hashing, same performance", 2006). With 32 bits a name a filter says
yes to a name that it does not have about once in five million times. Readers that do not know the entry are none the
worse.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ENTRY = b"tidegate.names.1"
BITS_A_NAME = 32
PLACES = 22
NAMES_MAX = 1 << 18
"""A file of more names has no filter: it would be larger than a megabyte."""
WANTED_MAX = 1 << 16
"""More names than this are looked for by reading: a file is more likely to have one, and asking costs as much."""
_COLUMNS = (("id", b"\0"), ("key", b"\1"))

Hashes = NDArray[np.uint64]


def footer_of(table: pa.Table) -> dict[bytes, bytes]:
    """What a file of these rows is to have in its footer; nothing where its rows have neither ids nor keys."""
    hashes = _hashes(table, NAMES_MAX)
    if hashes is None or not len(hashes):
        return {}
    size = -(-len(hashes) * BITS_A_NAME // 8)
    bits = np.zeros(size * 8, np.bool_)
    for places in _places(hashes, len(bits)):
        bits[places] = True
    return {ENTRY: base64.b64encode(np.packbits(bits).tobytes())}


@dataclass(frozen=True)
class WantedNames:
    """The ids and keys of rows that are looked for elsewhere; None where they are too many to ask filters for."""

    hashes: Hashes | None

    @classmethod
    def of(cls, table: pa.Table) -> WantedNames:
        """From the columns `id` and `key`."""
        return cls(_hashes(table, WANTED_MAX))

    def may_be_in(self, footer: Mapping[bytes, bytes] | None) -> bool:
        """Whether a file with this footer may have any of them; True where it does not say, or says it otherwise."""
        entry = (footer or {}).get(ENTRY)
        if entry is None or self.hashes is None:
            return True
        try:
            packed = np.frombuffer(base64.b64decode(entry, validate=True), np.uint8)
        except ValueError:
            return True
        left = self.hashes
        for number in range(PLACES):
            if not len(left) or not len(packed):
                return False
            places = _place(left, number, len(packed) * 8)
            left = left[(packed[places >> 3] >> (7 - (places & 7)).astype(np.uint8)) & 1 == 1]
        return len(left) > 0


def _hashes(table: pa.Table, names_max: int) -> Hashes | None:
    """Of each name once; None where they are more than that."""
    found: list[bytes] = []
    for column, prefix in _COLUMNS:
        if column not in table.column_names:
            continue
        names = table[column].drop_null().unique()
        if len(found) + len(names) > names_max:
            return None
        found += (_hash(prefix, name) for name in names.to_pylist())
    return np.frombuffer(b"".join(found), np.dtype("<u8")).astype(np.uint64)


def _hash(prefix: bytes, name: str) -> bytes:
    return blake2b(prefix + name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _places(hashes: Hashes, bits: int) -> Iterable[NDArray[np.int64]]:
    return (_place(hashes, number, bits) for number in range(PLACES))


def _place(hashes: Hashes, number: int, bits: int) -> NDArray[np.int64]:
    step = (hashes >> np.uint64(32)) | np.uint64(1)
    first = hashes & np.uint64(0xFFFFFFFF)
    return ((first + np.uint64(number) * step) % np.uint64(bits)).astype(np.int64)
