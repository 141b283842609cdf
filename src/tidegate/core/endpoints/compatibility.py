"""What clients of an endpoint would notice if a version with another signature answered them. Pure.

Called by services before traffic moves. It speaks of what gateways take (`dataplane/codec/fit.py`), on every protocol.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tidegate.wire.signature import PREDICTION, ParamSpec, Scalar, Signature, TensorSpec

CHANGES_SHOWN_MAX = 10
CLASSES_SHOWN_MAX = 6
_FLOAT_BITS = {"FP16": 16, "BF16": 32, "FP32": 32, "FP64": 64}  # BF16 is held as FP32
_FLOAT_BITS_FOR_INTEGERS = {8: 16, 16: 32, 32: 64, 64: 64}
_WIDER_PARAMS = {("integer", "long"), ("float", "double"), ("integer", "double")}


@dataclass(frozen=True)
class Changes:
    """`breaking`: what was taken is refused, or answered so that clients cannot read it. `compatible`: all other."""

    breaking: tuple[str, ...] = ()
    compatible: tuple[str, ...] = ()

    def __add__(self, other: Changes) -> Changes:
        return Changes(self.breaking + other.breaking, self.compatible + other.compatible)


def compare(before: Signature, after: Signature) -> Changes:
    """What changes for clients of `before` when `after` takes its place.

    | what                                          | breaks clients when it                                         |
    | --------------------------------------------- | -------------------------------------------------------------- |
    | an input                                      | is gone, new and not optional, narrower, of another type/shape |
    | an optional column                            | is not optional any more                                       |
    | an input that took missing values             | takes none any more                                            |
    | columns                                       | stand in another order: rows without names go by their place   |
    | a new optional column                         | does not stand at the end, for the same reason                 |
    | a matrix without names                        | gets names, unless its columns are as many and wide enough     |
    | a parameter, a further function               | is gone, or takes another type                                 |
    | an output                                     | is gone, or another sort of value, or of another shape         |
    | the output plain JSON answers                 | is another one: `prediction`, else the first                   |
    | the classes                                   | are others, or in another order: probabilities go by it        |

    Not so, and only told: inputs that are wider, take missing values or may be left out now, new optional columns
    at the end, parameters, functions and outputs, outputs of another width.
    """
    parts = (_inputs, _params, _outputs, _ways, _functions)
    return sum((part(before, after) for part in parts), Changes())


def listed(changes: Sequence[str]) -> str:
    """The changes in one line, up to a bound."""
    more = len(changes) - CHANGES_SHOWN_MAX
    return ", ".join(changes[:CHANGES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def takes(wanted: str, datatype: str) -> bool:
    """Whether an input of datatype `wanted` takes every value of `datatype`, as the gateway does: widening alone."""
    if wanted == datatype:
        return True
    want, have = _integer(wanted), _integer(datatype)
    if wanted in _FLOAT_BITS:
        needed = _FLOAT_BITS.get(datatype) if have is None else _FLOAT_BITS_FOR_INTEGERS[have[1]]
        return needed is not None and _FLOAT_BITS[wanted] >= needed
    if want is None or have is None:
        return False
    (signed, bits), (was_signed, were_bits) = want, have
    return bits >= were_bits if signed == was_signed else signed and bits > were_bits


def _integer(datatype: str) -> tuple[bool, int] | None:
    """Whether it is signed, and its bits."""
    for prefix, signed in (("UINT", False), ("INT", True)):
        if datatype.startswith(prefix):
            return signed, int(datatype.removeprefix(prefix))
    return None


# -- what goes in -----------------------------------------------------------------------------------------------------


def _inputs(before: Signature, after: Signature) -> Changes:
    if before.kind == after.kind:
        changes = _specs(before, after)
        return changes if changes.breaking or before.kind != "columns" else changes + _order(before, after)
    if before.kind == "matrix" and after.kind == "columns":
        return _named_now(before, after)
    if before.kind == "matrix" and after.kind == "tensors":
        return _specs(before, after)
    return Changes((f"it takes {_kind(after)}, where it took {_kind(before)}",))


def _kind(signature: Signature) -> str:
    if signature.kind == "matrix":
        return f"rows of {signature.n_features} numbers without names"
    names = [spec.name for spec in signature.inputs]
    shown = ", ".join(map(repr, names[:CHANGES_SHOWN_MAX])) + (", …" if len(names) > CHANGES_SHOWN_MAX else "")
    return f"{'columns' if signature.kind == 'columns' else 'tensors'} {shown}"


def _specs(before: Signature, after: Signature) -> Changes:
    """Inputs by their names."""
    had, has = ({spec.name: spec for spec in one.inputs} for one in (before, after))
    word = "column" if after.kind == "columns" else "input"
    gone = [f"{word} {name!r} is gone" for name in had if name not in has]
    added = [has[name] for name in has if name not in had]
    new = [f"{word} {spec.name!r} is new ({spec.datatype})" for spec in added if not spec.optional]
    compatible = [
        f"{word} {spec.name!r} is new ({spec.datatype}), and may be left out" for spec in added if spec.optional
    ]
    changes = Changes((*gone, *new), tuple(compatible))
    for name in had:
        if name in has:
            changes += _spec(f"{word} {name!r}", had[name], has[name])
    return changes


def _spec(what: str, before: TensorSpec, after: TensorSpec) -> Changes:
    breaking: list[str] = []
    compatible: list[str] = []
    if _type(before) != _type(after):
        said = f"{what} is {_type(after)} and was {_type(before)}"
        wider = _held(before) == _held(after) and takes(after.datatype, before.datatype)
        (compatible if wider else breaking).append(said)
    if before.shape != after.shape:
        said = f"{what} has shape {list(after.shape)} and had {list(before.shape)}"
        (compatible if _shape_fits(before.shape, after.shape) else breaking).append(said)
    if before.nullable != after.nullable:
        said = f"{what} takes {'missing values now' if after.nullable else 'no missing values any more'}"
        (compatible if after.nullable else breaking).append(said)
    if before.optional != after.optional:
        said = f"{what} may {'be left out now' if after.optional else 'not be left out any more'}"
        (compatible if after.optional else breaking).append(said)
    return Changes(tuple(breaking), tuple(compatible))


def _held(spec: TensorSpec) -> str:
    """What BYTES stand for beside text: JSON, bytes, times."""
    return "JSON" if spec.json else spec.holds


def _type(spec: TensorSpec) -> str:
    return f"{spec.datatype} ({_held(spec)})" if _held(spec) else spec.datatype


def _shape_fits(before: Sequence[int], after: Sequence[int]) -> bool:
    return len(before) == len(after) and all(want in (-1, was) for was, want in zip(before, after, strict=True))


def _order(before: Signature, after: Signature) -> Changes:
    known = {spec.name for spec in before.inputs}
    if names := [repr(spec.name) for spec in after.inputs[: len(known)] if spec.name not in known]:
        said = f"the new column {names[0]} stands" if len(names) == 1 else f"the new columns {listed(names)} stand"
        return Changes((f"{said} before others: rows without names go by their place",))
    if [spec.name for spec in before.inputs] == [spec.name for spec in after.inputs if spec.name in known]:
        return Changes()
    return Changes((f"the columns stand in another order: {_kind(after).removeprefix('columns ')}",))


def _named_now(before: Signature, after: Signature) -> Changes:
    """Rows without names go on to be taken by place, as long as each column takes the matrix's type."""
    (matrix,) = before.inputs
    wide = all(takes(spec.datatype, matrix.datatype) for spec in after.inputs)
    nulls = not matrix.nullable or all(spec.nullable for spec in after.inputs)
    said = f"it takes {_kind(after)}, where it took {_kind(before)}"
    fits = len(after.inputs) == before.n_features and wide and nulls
    return Changes(compatible=(said,)) if fits else Changes((said,))


def _gone_and_new(word: str, had: Collection[str], has: Collection[str]) -> Changes:
    """Of what clients may use or leave alone, by name: to lose one breaks them, a new one does not."""
    gone = tuple(f"{word} {name!r} is gone" for name in had if name not in has)
    return Changes(gone, tuple(f"{word} {name!r} is new" for name in has if name not in had))


def _params(before: Signature, after: Signature) -> Changes:
    had, has = ({param.name: param for param in one.params} for one in (before, after))
    other = tuple(
        f"parameter {name!r} is {_param(has[name])} and was {_param(had[name])}"
        for name in had
        if name in has and not _param_fits(had[name], has[name])
    )
    return _gone_and_new("parameter", had, has) + Changes(other)


def _param(spec: ParamSpec) -> str:
    return f"a list of {spec.type}" if spec.many else spec.type


def _param_fits(before: ParamSpec, after: ParamSpec) -> bool:
    return before.many == after.many and (before.type == after.type or (before.type, after.type) in _WIDER_PARAMS)


def _ways(before: Signature, after: Signature) -> Changes:
    """How rows are given and answered, where MLflow's models have ways of their own."""
    rows = ("rows are given in another way",) if before.items != after.items else ()
    was, now = (one.form or "tensors" for one in (before, after))
    return Changes((*rows, f"outputs are answered as {now} and were as {was}") if was != now else rows)


def _functions(before: Signature, after: Signature) -> Changes:
    had, has = ({one.name: one for one in signature.others} for signature in (before, after))
    changes = _gone_and_new("function", had, has)
    for name in had:
        if name in has:
            inner = compare(had[name], has[name])
            changes += Changes(
                *(tuple(f"{name}: {said}" for said in part) for part in (inner.breaking, inner.compatible))
            )
    return changes


# -- what comes out ---------------------------------------------------------------------------------------------------


def _outputs(before: Signature, after: Signature) -> Changes:
    had, has = ({spec.name: spec for spec in one.outputs} for one in (before, after))
    changes = _gone_and_new("output", had, has)
    for name in had:
        if name in has:
            changes += _output(f"output {name!r}", had[name], has[name])
    return changes + Changes(tuple(_answered(before, after))) + _classes(before.classes, after.classes)


def _output(what: str, before: TensorSpec, after: TensorSpec) -> Changes:
    was, now = _sort(before), _sort(after)
    if was != now:
        return Changes((f"{what} is {now} ({after.datatype}) and was {was} ({before.datatype})",))
    compatible = () if before.datatype == after.datatype else (f"{what} is {after.datatype} and was {before.datatype}",)
    if before.shape[1:] == after.shape[1:]:
        return Changes(compatible=compatible)
    said = f"{what} has shape {list(after.shape)} and had {list(before.shape)}"
    known = len(before.shape) == len(after.shape) and all(
        was in (-1, now) or now == -1 for was, now in zip(before.shape, after.shape, strict=True)
    )
    return Changes(compatible=(*compatible, said)) if known else Changes((said,), compatible)


def _sort(spec: TensorSpec) -> str:
    """What a client reads it as."""
    if _held(spec):
        return _held(spec)
    if spec.datatype in _FLOAT_BITS:
        return "a number"
    return {"BOOL": "a boolean", "BYTES": "text"}.get(spec.datatype, "a whole number")


def _answered(before: Signature, after: Signature) -> Iterator[str]:
    """Plain JSON answers `prediction`, or the first output of a model that has none; of a table all, by their names."""
    was, now = _plain(before), _plain(after)
    if was != now and any(spec.name == was for spec in after.outputs):  # one that is gone is told already
        yield f"the output that plain JSON answers is {repr(now) if now else 'all, by their names,'} and was {was!r}"


def _plain(signature: Signature) -> str:
    names = [spec.name for spec in signature.outputs]
    if not names or (signature.form and len(names) > 1):
        return ""
    return PREDICTION if PREDICTION in names else names[0]


def _classes(before: Sequence[Scalar] | None, after: Sequence[Scalar] | None) -> Changes:
    if before is None or after is None or list(before) == list(after):
        return Changes()
    return Changes((f"the classes are {_shown(after)} and were {_shown(before)}",))


def _shown(classes: Iterable[Scalar]) -> str:
    shown = [repr(one) for one in classes]
    return ", ".join(shown[:CLASSES_SHOWN_MAX]) + (", …" if len(shown) > CLASSES_SHOWN_MAX else "")
