"""A truth table of what clients notice of another signature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tidegate.core.endpoints.compatibility import CHANGES_SHOWN_MAX, compare, listed, takes
from tidegate.dataplane.base.tensors import DATATYPES, dtype_of
from tidegate.wire.signature import ParamSpec, Signature, TensorSpec


def _column(name: str, datatype: str = "FP64", **more: Any) -> TensorSpec:
    return TensorSpec(name, datatype, (-1,), **more)


def _columns(*specs: TensorSpec, **more: Any) -> Signature:
    return Signature("columns", specs, (OUT,), **more)


def _matrix(width: int, datatype: str = "FP64", **more: Any) -> Signature:
    return Signature("matrix", (TensorSpec("input", datatype, (-1, width), **more),), (OUT,))


def _tensors(*specs: TensorSpec) -> Signature:
    return Signature("tensors", specs, (OUT,))


def _answers(*specs: TensorSpec, classes: tuple[Any, ...] | None = None) -> Signature:
    return Signature("matrix", (TensorSpec("input", "FP64", (-1, 2)),), specs, classes=classes)


OUT = TensorSpec("prediction", "FP64", (-1,))
AGE, PLAN, SPEND = _column("age", "INT64"), _column("plan", "BYTES"), _column("spend")
BASE = _columns(AGE, PLAN, SPEND)
IMAGE = TensorSpec("image", "FP32", (-1, 8, 8))
PROBABILITIES = TensorSpec("probabilities", "FP64", (-1, 2))
CLASSES = (0, 1)


@pytest.mark.parametrize(
    ("before", "after", "breaking", "told"),
    [
        (BASE, BASE, [], []),
        # columns
        (BASE, _columns(AGE, SPEND), ["column 'plan' is gone"], []),
        (BASE, _columns(AGE, PLAN, SPEND, _column("region", "BYTES")), ["column 'region' is new (BYTES)"], []),
        (
            BASE,
            _columns(AGE, _column("tariff", "BYTES"), SPEND),
            ["column 'plan' is gone", "column 'tariff' is new (BYTES)"],
            [],
        ),
        (BASE, _columns(AGE, PLAN, _column("spend", "BYTES")), ["column 'spend' is BYTES and was FP64"], []),
        (BASE, _columns(AGE, PLAN, _column("spend", "FP32")), ["column 'spend' is FP32 and was FP64"], []),
        (BASE, _columns(_column("age", "FP64"), PLAN, SPEND), [], ["column 'age' is FP64 and was INT64"]),
        (BASE, _columns(_column("age", "BOOL"), PLAN, SPEND), ["column 'age' is BOOL and was INT64"], []),
        (
            BASE,
            _columns(AGE, _column("plan", "BYTES", nullable=True), SPEND),
            [],
            ["column 'plan' takes missing values now"],
        ),
        (
            _columns(AGE, _column("plan", "BYTES", nullable=True), SPEND),
            BASE,
            ["column 'plan' takes no missing values any more"],
            [],
        ),
        (BASE, _columns(PLAN, AGE, SPEND), ["the columns stand in another order: 'plan', 'age', 'spend'"], []),
        (
            BASE,
            _columns(AGE, PLAN, SPEND, _column("region", "BYTES", optional=True)),
            [],
            ["column 'region' is new (BYTES), and may be left out"],
        ),
        (
            BASE,
            _columns(AGE, _column("region", "BYTES", optional=True), PLAN, SPEND),
            ["the new column 'region' stands before others: rows without names go by their place"],
            ["column 'region' is new (BYTES), and may be left out"],
        ),
        (
            BASE,
            _columns(AGE, _column("plan", "BYTES", optional=True), SPEND),
            [],
            ["column 'plan' may be left out now"],
        ),
        (
            _columns(AGE, _column("plan", "BYTES", optional=True), SPEND),
            BASE,
            ["column 'plan' may not be left out any more"],
            [],
        ),
        (_columns(AGE, _column("plan", "BYTES", optional=True)), _columns(AGE), ["column 'plan' is gone"], []),
        (
            BASE,
            _columns(AGE, _column("plan", "BYTES", holds="datetime"), SPEND),
            ["column 'plan' is BYTES (datetime) and was BYTES"],
            [],
        ),
        # rows without names
        (_matrix(4), _matrix(4), [], []),
        (_matrix(4, "FP32"), _matrix(4, "FP64"), [], ["input 'input' is FP64 and was FP32"]),
        (_matrix(4), _matrix(4, "FP32"), ["input 'input' is FP32 and was FP64"], []),
        (_matrix(4), _matrix(5), ["input 'input' has shape [-1, 5] and had [-1, 4]"], []),
        (
            _matrix(2),
            _columns(_column("a"), SPEND),
            [],
            ["it takes columns 'a', 'spend', where it took rows of 2 numbers without names"],
        ),
        (
            _matrix(2),
            _columns(AGE, SPEND),
            ["it takes columns 'age', 'spend', where it took rows of 2 numbers without names"],
            [],
        ),
        (
            _matrix(3),
            _columns(_column("a"), SPEND),
            ["it takes columns 'a', 'spend', where it took rows of 3 numbers without names"],
            [],
        ),
        (
            _columns(_column("a"), SPEND),
            _matrix(2),
            ["it takes rows of 2 numbers without names, where it took columns 'a', 'spend'"],
            [],
        ),
        # tensors
        (_matrix(4), _tensors(TensorSpec("input", "FP64", (-1, 4))), [], []),
        (
            _matrix(4),
            _tensors(TensorSpec("x", "FP64", (-1, 4))),
            ["input 'input' is gone", "input 'x' is new (FP64)"],
            [],
        ),
        (_tensors(IMAGE, OUT), _tensors(OUT, IMAGE), [], []),
        (
            _tensors(IMAGE),
            _tensors(replace(IMAGE, shape=(-1, -1, -1))),
            [],
            ["input 'image' has shape [-1, -1, -1] and had [-1, 8, 8]"],
        ),
        (
            _tensors(replace(IMAGE, shape=(-1, -1, -1))),
            _tensors(IMAGE),
            ["input 'image' has shape [-1, 8, 8] and had [-1, -1, -1]"],
            [],
        ),
        (
            _tensors(IMAGE),
            _tensors(replace(IMAGE, shape=(-1, 64))),
            ["input 'image' has shape [-1, 64] and had [-1, 8, 8]"],
            [],
        ),
        # outputs
        (_answers(OUT), _answers(OUT, PROBABILITIES), [], ["output 'probabilities' is new"]),
        (_answers(OUT, PROBABILITIES), _answers(OUT), ["output 'probabilities' is gone"], []),
        (
            _answers(OUT),
            _answers(replace(OUT, datatype="BYTES")),
            ["output 'prediction' is text (BYTES) and was a number (FP64)"],
            [],
        ),
        (
            _answers(OUT),
            _answers(replace(OUT, datatype="INT64")),
            ["output 'prediction' is a whole number (INT64) and was a number (FP64)"],
            [],
        ),
        (
            _answers(replace(OUT, datatype="BYTES")),
            _answers(replace(OUT, datatype="BYTES", json=True)),
            ["output 'prediction' is JSON (BYTES) and was text (BYTES)"],
            [],
        ),
        (
            _answers(OUT),
            _answers(replace(OUT, datatype="FP32")),
            [],
            ["output 'prediction' is FP32 and was FP64"],
        ),
        (
            _answers(OUT),
            _answers(replace(OUT, shape=(-1, 3))),
            ["output 'prediction' has shape [-1, 3] and had [-1]"],
            [],
        ),
        (
            _answers(replace(OUT, name="a"), replace(OUT, name="b")),
            _answers(replace(OUT, name="b"), replace(OUT, name="a")),
            ["the output that plain JSON answers is 'b' and was 'a'"],
            [],
        ),
        (
            _answers(replace(OUT, name="o")),
            _answers(OUT, replace(OUT, name="o")),
            ["the output that plain JSON answers is 'prediction' and was 'o'"],
            ["output 'prediction' is new"],
        ),
        (
            _answers(replace(OUT, name="o")),
            _answers(replace(OUT, name="o"), OUT),
            ["the output that plain JSON answers is 'prediction' and was 'o'"],
            ["output 'prediction' is new"],
        ),
        (
            _answers(replace(OUT, name="a")),
            _answers(replace(OUT, name="b"), replace(OUT, name="a")),
            ["the output that plain JSON answers is 'b' and was 'a'"],
            ["output 'b' is new"],
        ),
        (
            _answers(replace(OUT, name="o"), OUT),
            _answers(OUT, replace(OUT, name="o")),
            [],
            [],
        ),
        (
            replace(_answers(replace(OUT, name="o")), form="records"),
            replace(_answers(replace(OUT, name="o"), OUT), form="records"),
            ["the output that plain JSON answers is all, by their names, and was 'o'"],
            ["output 'prediction' is new"],
        ),
        (
            replace(_answers(replace(OUT, name="o"), replace(OUT, name="a")), form="records"),
            replace(_answers(replace(OUT, name="o"), replace(OUT, name="a"), OUT), form="records"),
            [],
            ["output 'prediction' is new"],
        ),
        (
            _answers(OUT),
            _answers(replace(OUT, name="o"), OUT),
            [],
            ["output 'o' is new"],
        ),
        (_answers(OUT, classes=CLASSES), _answers(OUT, classes=CLASSES), [], []),
        (
            _answers(OUT, classes=("no", "yes")),
            _answers(OUT, classes=("yes", "no")),
            ["the classes are 'yes', 'no' and were 'no', 'yes'"],
            [],
        ),
        (_answers(OUT), _answers(OUT, classes=CLASSES), [], []),
        (
            _answers(OUT),
            replace(_answers(OUT), form="records"),
            ["outputs are answered as records and were as tensors"],
            [],
        ),
        # parameters and further functions
        (
            _columns(AGE, params=(ParamSpec("top", "integer"),)),
            _columns(AGE),
            ["parameter 'top' is gone"],
            [],
        ),
        (_columns(AGE), _columns(AGE, params=(ParamSpec("top", "integer"),)), [], ["parameter 'top' is new"]),
        (
            _columns(AGE, params=(ParamSpec("top", "integer"),)),
            _columns(AGE, params=(ParamSpec("top", "long"),)),
            [],
            [],
        ),
        (
            _columns(AGE, params=(ParamSpec("top", "integer"),)),
            _columns(AGE, params=(ParamSpec("top", "integer", many=True),)),
            ["parameter 'top' is a list of integer and was integer"],
            [],
        ),
        (
            replace(BASE, others=(replace(BASE, name="embed"), replace(BASE, name="old"))),
            replace(BASE, others=(replace(_columns(AGE, SPEND), name="embed"), replace(BASE, name="fresh"))),
            ["function 'old' is gone", "embed: column 'plan' is gone"],
            ["function 'fresh' is new"],
        ),
    ],
)
def test_what_clients_would_notice(before: Signature, after: Signature, breaking: list[str], told: list[str]) -> None:
    changes = compare(before, after)
    assert (list(changes.breaking), list(changes.compatible)) == (breaking, told)


@pytest.mark.parametrize("wanted", sorted(DATATYPES))
@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_a_type_is_wider_exactly_where_the_gateway_takes_it(wanted: str, datatype: str) -> None:
    want, have = dtype_of(wanted), dtype_of(datatype)
    widened = have.kind in "iuf" and want.kind in "iuf" and np.can_cast(have, want, "safe")
    assert takes(wanted, datatype) == (want == have or widened)


def test_many_changes_are_told_up_to_a_bound() -> None:
    columns = [_column(f"c{number}") for number in range(CHANGES_SHOWN_MAX + 5)]
    changes = compare(_columns(*columns), _columns(columns[0]))
    assert listed(changes.breaking).endswith(f"'c{CHANGES_SHOWN_MAX}' is gone and 4 more")
