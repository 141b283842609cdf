"""Fields and sections of a document: what is known by which name, and what is said of a name that is not. Pure.

A section that a document has is whole: what it leaves out is as by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from tidegate.core.declared.kinds import FieldKind, wrong
from tidegate.errors import InvalidArgument

NEAREST_CUTOFF = 0.55


@dataclass(frozen=True)
class Field:
    """One field: its name in documents, the kind of its value, what it says, and what holds without it.

    `key` is what services call it, where that is another word (`every_s` for `every`).
    """

    name: str
    kind: FieldKind
    doc: str
    default: Any = None
    key: str = ""

    @property
    def known_as(self) -> str:
        """Its name among values."""
        return self.key or self.name


@dataclass(frozen=True)
class Section:
    """Fields under one name. `required` must be given. Values are by `Field.known_as`."""

    fields: tuple[Field, ...]
    doc: str = ""
    required: tuple[str, ...] = ()
    whole: bool = True

    def read(self, raw: Any, path: str) -> dict[str, Any]:
        """Its values, with the defaults of what is left out where it is `whole`. Raises `InvalidArgument`."""
        if not isinstance(raw, Mapping):
            raise wrong(path or "the document", raw, f"fields such as {', '.join(self._names()[:4])}")
        check_known(raw, self._names(), path)
        found: dict[str, Any] = {}
        for one in self.fields:
            if one.name in raw:
                found[one.known_as] = one.kind.read(raw[one.name], _below(path, one.name))
            elif one.name in self.required:
                raise InvalidArgument(f"{_below(path, one.name)} is missing: {one.doc}", field=_below(path, one.name))
            elif self.whole:
                found[one.known_as] = one.default
        return found

    def written(self, value: Any) -> dict[str, Any]:
        """What is not as by default."""
        return {
            one.name: one.kind.written(value[one.known_as])
            for one in self.fields
            if one.known_as in value and value[one.known_as] != one.default
        }

    def worded(self, value: Any) -> str:
        return ", ".join(f"{path} {text}" for path, text in self.flat(value, "")) or "as by default"

    def flat(self, value: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
        """Each field's path and its value in words."""
        for one in self.fields:
            if one.known_as not in value:
                continue
            below, inner = _below(path, one.name), value[one.known_as]
            if isinstance(one.kind, Section | Entries) and inner is not None:
                yield from one.kind.flat(inner, below)
            else:
                yield below, "unset" if inner is None else one.kind.worded(inner)

    def schema(self) -> dict[str, Any]:
        described = {one.name: {"description": one.doc, **one.kind.schema()} for one in self.fields}
        more = {"required": [*self.required]} if self.required else {}
        return {"type": "object", "additionalProperties": False, "properties": described, **more}

    def _names(self) -> list[str]:
        return [one.name for one in self.fields]


@dataclass(frozen=True)
class Entries:
    """Sections by name, each of the same fields: rules by type of alert. Those left out are as by default."""

    names: tuple[str, ...]
    of: Section

    def read(self, raw: Any, path: str) -> dict[str, dict[str, Any]]:
        if not isinstance(raw, Mapping):
            raise wrong(path, raw, f"fields such as {', '.join(self.names[:3])}")
        check_known(raw, self.names, path)
        return {name: self.of.read(raw[name], _below(path, name)) for name in self.names if name in raw}

    def written(self, value: Any) -> dict[str, Any]:
        found = {name: self.of.written(one) for name, one in value.items()}
        return {name: one for name, one in found.items() if one}

    def worded(self, value: Any) -> str:
        return ", ".join(value) or "as by default"

    def flat(self, value: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
        blank = self.of.read({}, path)
        for name in self.names:
            yield from self.of.flat(value.get(name, blank), _below(path, name))

    def schema(self) -> dict[str, Any]:
        described = {name: self.of.schema() for name in self.names}
        return {"type": "object", "additionalProperties": False, "properties": described}


def check_known(raw: Mapping[Any, Any], names: Sequence[str], path: str) -> None:
    """Raises `InvalidArgument` for a field that is not there, with the name that is nearest to it."""
    for name in raw:
        if name in names:
            continue
        near = get_close_matches(str(name), names, n=1, cutoff=NEAREST_CUTOFF)
        what = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
        below = _below(path, str(name)[:80])
        raise InvalidArgument(f"{below} is no field of a document: {what}", field=below)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
