"""The platform's keys: each made once, in a file that its owner alone reads, or given by the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import InvalidArgument
from tidegate.services.platform_keys import check_keys, load_key, platform_keys
from tidegate.settings import Settings


def test_each_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    made = platform_keys(Settings.from_env({}, data_dir=tmp_path))
    assert len({made.token, made.node, made.metrics}) == 3
    assert platform_keys(Settings.from_env({}, data_dir=tmp_path)) == made
    for name, key in (("token", made.token), ("node.key", made.node), ("metrics.key", made.metrics)):
        assert (tmp_path / name).read_text() == key
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert made.predict is None
    assert not made.predict_is_node
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.key", "node.key", "token"]


def test_a_key_of_the_environment_takes_the_place_of_the_files(tmp_path: Path) -> None:
    before = platform_keys(Settings.from_env({}, data_dir=tmp_path))
    given = {"TIDEGATE_TOKEN": "t", "TIDEGATE_NODE_KEY": "n", "TIDEGATE_API_KEY": "p"}
    made = platform_keys(Settings.from_env(given, data_dir=tmp_path))
    assert (made.token, made.node, made.metrics, made.predict) == ("t", "n", before.metrics, "p")
    assert (tmp_path / "token").read_text() == "t", "so that the command line of this machine finds it"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_a_data_directory_of_before_keeps_its_token_and_its_gateways(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of before\n")
    (tmp_path / "token").chmod(0o644)
    made = platform_keys(Settings.from_env({"TIDEGATE_API_KEY": "p"}, data_dir=tmp_path))
    assert made.token == "of before"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert made.predict_is_node
    assert platform_keys(Settings.from_env({"TIDEGATE_API_KEY": "p"}, data_dir=tmp_path)).predict_is_node
    (tmp_path / "earlier-gateways").unlink()
    assert not platform_keys(Settings.from_env({"TIDEGATE_API_KEY": "p"}, data_dir=tmp_path)).predict_is_node


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "node.key").touch()
    assert len(load_key(tmp_path / "node.key")) == 43


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_API_KEY and TIDEGATE_TOKEN are the same key"):
        check_keys(Settings.from_env({"TIDEGATE_API_KEY": "k", "TIDEGATE_TOKEN": "k"}))


def test_a_key_that_is_already_another_ones_is_refused_also_where_that_lies_in_a_file(tmp_path: Path) -> None:
    token = platform_keys(Settings.from_env({}, data_dir=tmp_path)).token
    with pytest.raises(InvalidArgument, match="TIDEGATE_API_KEY and DATA/token are the same key"):
        platform_keys(Settings.from_env({"TIDEGATE_API_KEY": token}, data_dir=tmp_path))


@pytest.mark.parametrize("key", [" ", " b", "k\n"])
def test_a_blank_key_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_TOKEN is blank, or begins or ends"):
        platform_keys(Settings.from_env({"TIDEGATE_TOKEN": key}, data_dir=tmp_path))
    assert not (tmp_path / "token").exists()


def test_a_node_key_that_was_removed_is_made_anew_and_lets_nobody_else_in(tmp_path: Path) -> None:
    before = platform_keys(Settings.from_env({"TIDEGATE_API_KEY": "p"}, data_dir=tmp_path))
    (tmp_path / "node.key").unlink()
    made = platform_keys(Settings.from_env({"TIDEGATE_API_KEY": "p"}, data_dir=tmp_path))
    assert made.node != before.node
    assert not made.predict_is_node
