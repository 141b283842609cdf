"""Sorts of values in a document: how each is read, written again, put into words, and described to editors. Pure.

`fields.py` puts them together; `endpoint.py` declares what an endpoint has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidegate.core.engines.placement import bytes_of
from tidegate.core.numbers import number_text, plain_number
from tidegate.core.texts import storable
from tidegate.errors import InvalidArgument

TEXT_CHARS_MAX, ITEMS_MAX = 2_000, 1_000
SPAN_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(s|m|h|d|w)\s*$"
SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]i?)?[bB]?\s*$"
_LARGEST = 1e300
_SPAN = re.compile(SPAN_PATTERN)
_UNITS_S = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


class FieldKind(Protocol):
    """A sort of value."""

    def read(self, raw: Any, path: str) -> Any:
        """The value that a document gives at `path`. Raises `InvalidArgument`, which names the path."""
        ...

    def written(self, value: Any) -> Any:
        """As it stands in a document."""
        ...

    def worded(self, value: Any) -> str:
        """As people are told of it."""
        ...

    def schema(self) -> dict[str, Any]:
        """As JSON Schema describes it."""
        ...


def wrong(path: str, raw: Any, wanted: str) -> InvalidArgument:
    """`raw` at `path` is not what is wanted there."""
    return InvalidArgument(f"{path} is {_told(raw)}: give {wanted}", field=path)


def _number(raw: Any) -> float | None:
    """A finite number; None for anything else, also a whole number that is too large to be one."""
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not -_LARGEST <= raw <= _LARGEST:
        return None
    return float(raw)


def _told(raw: Any) -> str:
    if raw is None:
        return "empty"
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, Mapping | list):
        return "a mapping" if isinstance(raw, Mapping) else "a list"
    text = repr(raw)
    return text if len(text) <= 60 else f"{text[:60]}…"


class _Plain:
    def written(self, value: Any) -> Any:
        return value

    def worded(self, value: Any) -> str:
        return "unset" if value in (None, "") else str(value)


@dataclass(frozen=True)
class Text(_Plain):
    """Text: one of `choices` where there are any. `example` is for messages."""

    example: str = "text"
    choices: tuple[str, ...] = ()
    pattern: str = ""

    def read(self, raw: Any, path: str) -> str:
        wanted = f"one of {', '.join(self.choices)}" if self.choices else f"text, such as {self.example}"
        if not isinstance(raw, str) or not raw or len(raw) > TEXT_CHARS_MAX or not storable(raw):
            raise wrong(path, raw, wanted)
        if (self.choices and raw not in self.choices) or (self.pattern and not re.search(self.pattern, raw)):
            raise wrong(path, raw, wanted)
        return raw

    def schema(self) -> dict[str, Any]:
        if self.choices:
            return {"type": "string", "enum": [*self.choices]}
        more = {"pattern": self.pattern} if self.pattern else {}
        return {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX, **more}


@dataclass(frozen=True)
class VersionNumber(_Plain):
    """A version: its number, its label, or `@alias` where an alias can be meant."""

    alias: bool = True

    def read(self, raw: Any, path: str) -> str:
        if isinstance(raw, int) and not isinstance(raw, bool) and 0 < raw < 1 << 53:
            return str(raw)
        wanted = 'a version: its number or label (in quotes, as in "1.10")' + (", or @ALIAS" if self.alias else "")
        if not isinstance(raw, str) or not raw.strip("@") or len(raw) > TEXT_CHARS_MAX or not storable(raw):
            raise wrong(path, raw, wanted)
        if raw.startswith("@") and not self.alias:
            raise wrong(path, raw, wanted)
        return raw

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}]}


@dataclass(frozen=True)
class Amount(_Plain):
    """A number, or a text that says how it is meant: `0.05`, `5%`, `abs:0.01`."""

    example: str = "0.05, 5% or abs:0.01"

    def read(self, raw: Any, path: str) -> str:
        if (number := _number(raw)) is not None:
            return number_text(number)
        if not isinstance(raw, str) or not raw or len(raw) > 40:
            raise wrong(path, raw, f"an amount, such as {self.example}")
        return raw

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}]}


@dataclass(frozen=True)
class Flag(_Plain):
    """True or false."""

    def read(self, raw: Any, path: str) -> bool:
        if not isinstance(raw, bool):
            raise wrong(path, raw, "true or false")
        return raw

    def worded(self, value: Any) -> str:
        return "yes" if value else "no"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Whole(_Plain):
    """A whole number."""

    low: int = 0
    high: int = 2**53

    def read(self, raw: Any, path: str) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not self.low <= raw <= self.high:
            raise wrong(path, raw, f"a whole number from {self.low} to {self.high}")
        return raw

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Number(_Plain):
    """A number."""

    low: float = 0.0
    high: float = 1e15

    def read(self, raw: Any, path: str) -> float:
        wanted = f"a number from {number_text(self.low)} to {number_text(self.high)}"
        number = _number(raw)
        if number is None or not self.low <= number <= self.high:
            raise wrong(path, raw, wanted)
        return number

    def written(self, value: Any) -> Any:
        return None if value is None else plain_number(value)

    def worded(self, value: Any) -> str:
        return "unset" if value is None else number_text(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Span:
    """A span of time, in seconds: `5m`, `1.5h`, `30d`, or a number of seconds. 0 is written as `zero`, if given."""

    zero: str = "0s"

    def read(self, raw: Any, path: str) -> float:
        wanted = "a span of time, such as 30s, 5m, 12h or 7d"
        if isinstance(raw, str) and (found := _SPAN.match(raw)):
            value = _number(float(raw.strip()[: -len(found[2])]) * _UNITS_S[found[2]])
        else:
            value = _number(raw)
        if value is None or not 0 <= value <= 1e10:
            raise wrong(path, raw, wanted)
        return value

    def written(self, value: Any) -> Any:
        return span_of(value)

    def worded(self, value: Any) -> str:
        return "unset" if value is None else self.zero if value == 0 else span_of(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": SPAN_PATTERN}, {"type": "number", "minimum": 0}]}


def span_of(value_s: float) -> str:
    """Seconds in the largest unit of which they are a whole number.

    >>> [span_of(one) for one in (300, 86400, 90, 0.5)]
    ['5m', '1d', '90s', '0.5s']
    """
    for unit, unit_s in _UNITS_S.items():
        if unit != "w" and value_s and value_s % unit_s == 0:
            return f"{value_s / unit_s:.15g}{unit}"
    return f"{value_s:.15g}s"


@dataclass(frozen=True)
class Size:
    """An amount of bytes: `512m`, `2g` (a unit is a power of 1024), or a number of bytes."""

    def read(self, raw: Any, path: str) -> int:
        if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= 1 << 60:
            return raw
        if isinstance(raw, str) and len(raw) < 40 and re.match(SIZE_PATTERN, raw):
            return bytes_of(raw)
        raise wrong(path, raw, "an amount of bytes, such as 512m or 2g")

    def written(self, value: Any) -> Any:
        return size_of(value)

    def worded(self, value: Any) -> str:
        return str(size_of(value)) if value else "unset"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 0}]}


def size_of(size_bytes: int) -> str | int:
    """Bytes in the largest unit of which they are a whole number.

    >>> [size_of(one) for one in (1 << 30, 1536 << 20, 1000)]
    ['1g', '1536m', 1000]
    """
    for unit, bits in (("t", 40), ("g", 30), ("m", 20)):
        if size_bytes and size_bytes % (1 << bits) == 0:
            return f"{size_bytes >> bits}{unit}"
    return size_bytes


@dataclass(frozen=True)
class Listed:
    """A list of values of one kind."""

    of: FieldKind = field(default_factory=Text)
    what: str = "a list"

    def read(self, raw: Any, path: str) -> list[Any]:
        if not isinstance(raw, list) or len(raw) > ITEMS_MAX:
            raise wrong(path, raw, f"{self.what}, of up to {ITEMS_MAX}")
        return [self.of.read(one, f"{path}[{number}]") for number, one in enumerate(raw)]

    def written(self, value: Any) -> Any:
        return [self.of.written(one) for one in value]

    def worded(self, value: Any) -> str:
        return ", ".join(self.of.worded(one) for one in value) or "none"

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.of.schema(), "maxItems": ITEMS_MAX}


@dataclass(frozen=True)
class Weights:
    """Percent of the traffic by version."""

    def read(self, raw: Any, path: str) -> dict[str, float]:
        if not isinstance(raw, Mapping) or not raw:
            raise wrong(path, raw, "the percent of each version, as in {1: 90, 2: 10}")
        if len(raw) > ITEMS_MAX:
            raise InvalidArgument(f"{path} names {len(raw)} versions, and may have {ITEMS_MAX}", field=path)
        by_version: dict[str, float] = {}
        for version, weight in raw.items():
            name = VersionNumber(alias=False).read(version, f"{path}: a version")
            if name in by_version:
                raise InvalidArgument(f"{path} names version {name} twice", field=path)
            by_version[name] = Number(0, 100).read(weight, f"{path}.{name}")
        return by_version

    def written(self, value: Any) -> Any:
        return {version: plain_number(weight) for version, weight in value.items()}

    def worded(self, value: Any) -> str:
        return " ".join(f"{version}={number_text(weight)}" for version, weight in value.items()) or "none"

    def schema(self) -> dict[str, Any]:
        percent = {"type": "number", "minimum": 0, "maximum": 100}
        return {"type": "object", "additionalProperties": percent, "minProperties": 1}
