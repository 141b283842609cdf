"""What people read: tables, curl lines, sizes, and the words of a change."""

from __future__ import annotations

import shlex
from typing import Any

import orjson
import pytest
from click import unstyle

from tidegate.cli.endpoints.deploy import curl_line
from tidegate.cli.endpoints.show import _platform
from tidegate.cli.output import moment, plain_table, progress, size, split, terminal_table
from tidegate.cli.predict.predict import split_request
from tidegate.errors import InvalidArgument
from tidegate.wire.parts import EngineView
from tidegate.wire.rest import Endpoint, Status


def endpoint(example: Any) -> Endpoint:
    return Endpoint("churn", "u", "ready", "", {"1": 100.0}, [], example=example)


def test_the_curl_line_survives_a_shell() -> None:
    example = {"it's": 'a "quoted" $HOME', "n": 1.5}
    words = shlex.split(curl_line("http://127.0.0.1:8000/", endpoint(example), with_key=False))
    assert words[:3] == ["curl", "-sS", "http://127.0.0.1:8000/predict/churn"]
    assert orjson.loads(words[-1]) == {"features": example}
    assert not [word for word in words if "Authorization" in word]


@pytest.mark.parametrize(("url", "with_key"), [("http://models.example:8000", False), ("http://127.0.0.1:8000", True)])
def test_the_curl_line_names_the_key_where_one_is_needed(url: str, with_key: bool) -> None:
    assert '-H "Authorization: Bearer $TIDEGATE_API_KEY"' in curl_line(url, endpoint([1]), with_key)


def test_a_table_is_aligned() -> None:
    assert plain_table(("name", "n"), [["a", "10"], ["longer", "2"]]) == "NAME    N\na       10\nlonger  2"


def test_what_status_says_in_sentences_is_folded_on_a_terminal_and_stays_a_line_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = EngineView("tcp://10.0.0.1:2375", "unavailable", reason="nothing answers at tcp://10.0.0.1:2375: start it")
    now = Status("1", "/data", 0.0, "", [], [], 0, {}, 1, engine=engine)
    promise = "replicas that run serve on; changes wait, and the platform goes on by itself when the engine is back"
    assert promise in _platform(now).splitlines()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    said = _platform(now)
    assert max(map(len, said.splitlines())) <= 80
    assert promise in " ".join(said.split())


def test_small_formats() -> None:
    assert (size(999), size(1_400_000), size(5 << 30)) == ("999 B", "1.4 MB", "5.37 GB")
    assert split({"1": 90.0, "2": 10.0}) == "1=90 2=10"
    assert (split({}), moment(None), moment(0.0)) == ("-", "-", "-")
    assert moment(1769860800.0) == "2026-01-31 12:00:00Z"


def test_a_row_that_needs_a_block_is_folded_between_words_beside_its_headers() -> None:
    digest, other = "d" * 64, "e" * 64
    why = "no container engine answers: start Docker, or set DOCKER_HOST to one that runs somewhere else"
    said = unstyle(terminal_table(("digest", "other", "why"), [[digest, other, why]], 80)).splitlines()
    assert said[:2] == [f"digest  {digest}", f"other   {other}"]
    assert max(map(len, said)) <= 80
    assert " ".join(said[2:]).split() == ["why", *why.split()]


def test_progress_without_a_terminal_says_each_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(bar=False) as report:
        for fraction in (0.1, 0.5, 1.0):
            report("uploading model.onnx", fraction)
        report("scoring", 0.4)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "uploading model.onnx\nscoring\n")


@pytest.mark.parametrize(
    ("document", "features", "rest"),
    [
        ([1, 2], [1, 2], {}),
        ({"age": 3}, {"age": 3}, {}),
        ({"features": [1], "model_version": "2", "user_id": "u"}, [1], {"model_version": "2", "user_id": "u"}),
    ],
)
def test_a_bare_row_or_a_whole_request(document: Any, features: Any, rest: dict[str, Any]) -> None:
    assert split_request(document) == (features, rest)


def test_a_number_is_no_row() -> None:
    with pytest.raises(InvalidArgument):
        split_request(3)


URL = "http://127.0.0.1:8000/predict/churn"


def test_a_table_on_a_narrow_terminal_breaks_no_id_and_no_url() -> None:
    rows = [["churn", URL, "starting 1 replica of version 2, which takes longer than it did"]]
    said = unstyle(terminal_table(("endpoint", "url", "reason"), rows, 80))
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert URL in lines[2]
    assert " ".join(line[47:].strip() for line in lines[2:]) == rows[0][2]


def test_a_table_that_cannot_fit_becomes_blocks() -> None:
    digest = "ab" * 32
    said = unstyle(terminal_table(("id", "url"), [[digest, URL], ["-", ""]], 80))
    assert said.splitlines() == [f"id   {digest}", f"url  {URL}", "", "id   -", "url"]


def test_a_table_with_room_is_one_line_a_row() -> None:
    said = unstyle(terminal_table(("id", "n"), [["a b", "1"]], 80))
    assert said.splitlines() == ["id   n", "───  ─", "a b  1"]
