"""Which inputs and outputs a model's versions have: what settings that name a column are checked against."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy.orm import Session

from tidegate.errors import InvalidArgument
from tidegate.store.models.models import versions_of
from tidegate.wire.decoding import convert
from tidegate.wire.signature import Signature

SHOWN_MAX, CHARS_MAX = 50, 80


def check_columns(tx: Session, model: str, asked: Iterable[str], field: str, taken: Collection[str] = ()) -> None:
    """Raise `InvalidArgument` where a column that is asked for is none of any version. `taken` was accepted before."""
    unknown = sorted(set(asked) - set(taken))
    if not unknown:
        return
    known = _columns_of(tx, model)
    for name in unknown:
        if name not in known:
            raise InvalidArgument(
                f"{name[:CHARS_MAX]!r} is no input or output of {model}, which has: "
                f"{', '.join(sorted(known)[:SHOWN_MAX])}",
                field=field,
            )


def _columns_of(tx: Session, model: str) -> set[str]:
    known: set[str] = set()
    for version in versions_of(tx, model):
        signature = convert(version.signature, Signature)
        for one in (signature, *signature.others):
            known |= {spec.name for spec in (*one.inputs, *one.outputs)}
    return known
