"""What the status says of the machine, beside what tests of a whole platform see of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.control import container_at
from tidegate.adapters.sandbox import confinement
from tidegate.adapters.sandbox.confinement import Way


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("user", "users of their own, and see their own files alone"),
        ("user_alone", "users of their own, which modes keep out"),
        ("namespace", "keep the platform's user, in a namespace"),
        (None, "a grant is access to the platform"),
    ],
)
def test_how_models_are_confined_is_said_once_it_is_known(
    way: Way | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = container_at(tmp_path / "data")
    monkeypatch.setattr(confinement, "_found", [])
    assert container.status.get().confinement is None
    confinement._found.append(way)
    assert says in (container.status.get().confinement or "")
    container.close()
