"""Which requirements are met here, and when two sets are the same one."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from support.wheels import make_wheel
from tidegate.environments import Requirements

NUMPY = metadata.version("numpy")


def unmet(text: str) -> list[str]:
    return Requirements.read(text).unmet()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n\n",
        f"numpy=={NUMPY}  # exact\nNumPy>=1\n",
        "numpy>=1,\\\n<99\n",
        'nowhere-to-be-found; python_version < "3"\n',
        "mlflow>=3\n",
        "--extra-index-url https://example.invalid/simple\nnumpy\n",
    ],
)
def test_what_this_environment_meets(text: str) -> None:
    assert unmet(text) == []


@pytest.mark.parametrize(
    "line", ["numpy==1.0", "nowhere-to-be-found", "./wheels/a-1-py3-none-any.whl", "a @ file:///a"]
)
def test_what_it_does_not_meet(line: str) -> None:
    assert unmet(f"numpy\n{line}\n") == [line]


def test_recorded_pins_count_for_their_minor_version() -> None:
    major, minor, *_ = NUMPY.split(".")
    other_patch = f"numpy=={major}.{minor}.99"
    assert unmet(other_patch) == [other_patch]
    assert Requirements.read(other_patch).relaxed().unmet() == []
    assert Requirements.read(f"numpy=={major}.{int(minor) + 1}.0").relaxed().unmet()


def test_order_spelling_and_comments_make_no_other_set() -> None:
    one = Requirements.read("Tide_Words == 1.0\nnumpy<3,>=2\n")
    assert one.key() == Requirements.read("# mine\nnumpy >=2, <3\n\ntide-words==1.0\n").key()
    assert one.key() != Requirements.read("tide-words==1.1\nnumpy<3,>=2\n").key()


def test_a_wheel_that_changed_is_another_requirement(tmp_path: Path) -> None:
    keys = set()
    for code in ("a = 1", "a = 2", "a = 1"):
        name = make_wheel(tmp_path, "words", "1.0", code).name
        keys.add(Requirements.read(f"./{name}", tmp_path).key())
    assert len(keys) == 2


def test_an_included_file_counts_and_is_found_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("words==1.0\n")
    first = Requirements.read("-r more.txt\n", tmp_path)
    assert first.written() == f"-r {tmp_path / 'more.txt'}\n"
    key = first.key()
    (tmp_path / "more.txt").write_text("words==1.1\n")
    assert Requirements.read("-r more.txt\n", tmp_path).key() != key
