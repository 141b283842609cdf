"""Keys given twice are found wherever they stand, and nothing else is taken for one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.dataplane.codec.keys import check_keys
from tidegate.errors import MalformedRequest


class Pairs(list[tuple[str, Any]]):
    """An object that may have a key twice."""


TEXTS = st.text(alphabet='ab{}:," \\é', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXTS, inner), max_size=4).map(Pairs),
    max_leaves=12,
)


def written(value: Any) -> str:
    if isinstance(value, Pairs):
        return "{ " + " ,".join(f"{written(key)} : {written(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def has_twice(value: Any) -> bool:
    if isinstance(value, Pairs):
        return len({key for key, _ in value}) < len(value) or any(has_twice(item) for _, item in value)
    return isinstance(value, list) and any(map(has_twice, value))


@given(VALUES)
def test_just_the_json_with_a_key_twice_is_refused(value: Any) -> None:
    body = written(value).encode()
    if has_twice(value):
        with pytest.raises(MalformedRequest, match="twice"):
            check_keys(body)
    else:
        check_keys(body)


def test_the_key_is_named_and_escapes_are_seen_through() -> None:
    with pytest.raises(MalformedRequest, match="'features'"):
        check_keys(bytearray(b'{"features": [1], "features": [2]}'))
    with pytest.raises(MalformedRequest, match="'features'"):
        check_keys(b'{"features": [1], "f\\u0065atures": [2]}')


def test_numbers_of_any_length_are_none_of_its_business() -> None:
    check_keys(b'{"features": [1], "user_id": "\\n", "other": %b}' % (b"1" * 5_000))
