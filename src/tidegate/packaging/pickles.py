"""Reads what a pickle names without running any of it: an abstract walk over its opcodes. Never unpickles.

joblib puts the raw bytes of each array right behind the object that describes it; the walk follows that object's shape
and dtype to step over them. Where it loses the thread it says so (`complete=False`): unknown is a value.
"""

from __future__ import annotations

import lzma
import math
import pickletools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.packaging.streams import PickleStream, Truncated, open_stream

OPCODES_MAX = 8_000_000
"""A scan stops here (about ten seconds); what it has seen by then is reported as incomplete."""

_KEPT_KEYS = frozenset({"shape", "dtype", "order", "numpy_array_alignment_bytes"})
_VERSION_KEY = "_sklearn_version"
_ARRAY_WRAPPERS = frozenset({"NumpyArrayWrapper"})
_DAMAGE = (ValueError, IndexError, KeyError, TypeError, OSError, zlib.error, lzma.LZMAError, EOFError, MemoryError)


@dataclass(frozen=True)
class PickleScan:
    """What a pickle names: `globals` are (module, qualified name) pairs of classes and functions.

    `sklearn_versions` are the scikit-learn versions that its estimators were saved with. `complete` is False when the
    walk could not follow the file to its end; `truncated` when the file ends in the middle.
    """

    globals: frozenset[tuple[str, str]]
    sklearn_versions: frozenset[str]
    complete: bool
    truncated: bool
    opcodes: int = 0


@dataclass(frozen=True)
class _Global:
    module: str
    name: str


@dataclass
class _Object:
    """Something built by calling `made_by`; only the few attributes that describe an array are kept."""

    made_by: Any
    args: Any
    state: dict[str, Any] = field(default_factory=dict)


class _Limit(Exception):
    """The scan has read enough."""


_MARK, _UNKNOWN = object(), object()


@dataclass
class _Walk:
    """The abstract machine: pickle's stack and memo, with everything but names and array shapes forgotten."""

    stream: PickleStream
    globals: set[tuple[str, str]] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    opcodes: int = 0
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Walk to STOP; raises one of `_DAMAGE`, `Truncated` or `_Limit` when it cannot."""
        for op, arg, _ in pickletools.genops(self.stream):  # type: ignore[arg-type]
            self.opcodes += 1
            if self.opcodes > OPCODES_MAX:
                raise _Limit
            handler = _HANDLERS.get(op.name)
            if handler is not None:
                handler(self, arg)
            else:
                self._generic(op)

    def nested(self) -> None:
        """Walk the pickle that joblib writes inside for an array of objects."""
        stack, memo = self.stack, self.memo
        self.stack, self.memo = [], {}
        self.run()
        self.stack, self.memo = stack, memo

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def found(self, module: Any, name: Any) -> Any:
        if not (isinstance(module, str) and isinstance(name, str)):
            return _UNKNOWN
        self.globals.add((module, name))
        return _Global(module, name)

    def keep(self, target: Any, pairs: list[Any]) -> None:
        """`target[key] = value` for the keys that matter here."""
        for key, value in zip(pairs[::2], pairs[1::2], strict=False):
            if key == _VERSION_KEY and isinstance(value, str):
                self.versions.add(value)
            elif isinstance(target, dict) and isinstance(key, str) and key in _KEPT_KEYS:
                target[key] = value

    def build(self) -> None:
        state, made = self.pop(), self.stack[-1]
        if isinstance(made, _Object) and isinstance(state, dict):
            made.state.update(state)
            if isinstance(made.made_by, _Global) and made.made_by.name in _ARRAY_WRAPPERS:
                self._skip_array(made.state)

    def _skip_array(self, state: dict[str, Any]) -> None:
        item_bytes = _item_bytes(state.get("dtype"))
        if item_bytes is None:
            self.nested()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self.stream.read(1)
            if not padding:
                raise Truncated
            self.stream.skip(padding[0])
        self.stream.skip(math.prod(state["shape"]) * item_bytes)

    def _generic(self, op: pickletools.OpcodeInfo) -> None:
        """Any other opcode: pop and push as the format's own table says."""
        if pickletools.markobject in op.stack_before:
            self.pop_to_mark()
            taken = op.stack_before.index(pickletools.markobject)
        else:
            taken = len(op.stack_before)
        del self.stack[len(self.stack) - taken :]
        self.stack.extend(_UNKNOWN for _ in op.stack_after)


def _item_bytes(dtype: Any) -> int | None:
    """Bytes of one element; None for objects. Raises `ValueError` for a dtype this cannot read."""
    code = dtype.args[0] if isinstance(dtype, _Object) and isinstance(dtype.args, tuple) and dtype.args else None
    if not isinstance(code, str):
        raise ValueError("unknown array type")
    kind, size = code.lstrip("<>=|")[:1], code.lstrip("<>=|")[1:]
    if kind == "O":
        return None
    return int(size) * (4 if kind == "U" else 1)


def _global(walk: _Walk, arg: Any) -> None:
    module, _, name = str(arg).partition(" ")
    walk.push(walk.found(module, name))


def _stack_global(walk: _Walk, _: Any) -> None:
    name, module = walk.pop(), walk.pop()
    walk.push(walk.found(module, name))


def _instance(walk: _Walk, arg: Any) -> None:
    walk.pop_to_mark()
    _global(walk, arg)
    walk.push(_Object(walk.pop(), ()))


def _call(walk: _Walk, _: Any) -> None:
    args, made_by = walk.pop(), walk.pop()
    if made_by == _Global("copyreg", "_reconstructor") or made_by == _Global("copy_reg", "_reconstructor"):
        made_by = args[0] if isinstance(args, tuple) and args else _UNKNOWN
    walk.push(_Object(made_by, args))


def _call_with_keywords(walk: _Walk, _: Any) -> None:
    walk.pop()
    _call(walk, _)


def _tuple_of(count: int) -> Callable[[_Walk, Any], None]:
    def handler(walk: _Walk, _: Any) -> None:
        items = tuple(walk.stack[len(walk.stack) - count :])
        del walk.stack[len(walk.stack) - count :]
        walk.push(items)

    return handler


def _tuple(walk: _Walk, _: Any) -> None:
    items = walk.pop_to_mark()
    walk.push(tuple(items) if len(items) <= 64 else _UNKNOWN)


def _set_item(walk: _Walk, _: Any) -> None:
    value, key = walk.pop(), walk.pop()
    walk.keep(walk.stack[-1], [key, value])


def _set_items(walk: _Walk, _: Any) -> None:
    pairs = walk.pop_to_mark()
    walk.keep(walk.stack[-1], pairs)


def _dict(walk: _Walk, _: Any) -> None:
    made: dict[str, Any] = {}
    walk.keep(made, walk.pop_to_mark())
    walk.push(made)


def _remember(walk: _Walk, arg: Any) -> None:
    walk.memo[len(walk.memo) if arg is None else int(arg)] = walk.stack[-1]


def _recall(walk: _Walk, arg: Any) -> None:
    walk.push(walk.memo.get(int(arg), _UNKNOWN))


def _push_arg(walk: _Walk, arg: Any) -> None:
    walk.push(arg)


def _push(make: Callable[[], Any]) -> Callable[[_Walk, Any], None]:
    return lambda walk, _: walk.push(make())


_HANDLERS: dict[str, Callable[[_Walk, Any], None]] = {
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _instance,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_keywords,
    "REDUCE": _call,
    "BUILD": lambda walk, _: walk.build(),
    "MARK": _push(lambda: _MARK),
    "EMPTY_TUPLE": _push(tuple),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _tuple,
    "EMPTY_DICT": _push(dict),
    "DICT": _dict,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "APPEND": lambda walk, _: walk.stack.pop() and None,
    "DUP": lambda walk, _: walk.push(walk.stack[-1]),
    "POP": lambda walk, _: walk.stack.pop() and None,
    "POP_MARK": lambda walk, _: walk.pop_to_mark() and None,
    "NONE": _push(lambda: None),
} | {
    name: handler
    for handler, names in (
        (_remember, ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")),
        (_recall, ("GET", "BINGET", "LONG_BINGET")),
        (_push_arg, ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE")),
        (_push_arg, ("BINUNICODE8", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")),
    )
    for name in names
}


def scan_pickle(path: Path) -> PickleScan:
    """What the pickle or joblib file (compressed or not) names. Runs nothing; raises only `OSError` on opening."""
    stream = open_stream(path)
    walk = _Walk(stream)
    complete = truncated = False
    try:
        walk.run()
        complete = True
    except Truncated:
        truncated = True
    except (*_DAMAGE, _Limit, RecursionError):
        truncated = stream.at_end
    finally:
        stream.close()
    return PickleScan(frozenset(walk.globals), frozenset(walk.versions), complete, truncated, walk.opcodes)
