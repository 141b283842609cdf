"""YAML of documents: plain data with lines, within bounds, and what is written is read the same."""

import pytest

from tidegate.core.declared.yaml_text import DEPTH_MAX, NODES_MAX, TEXT_CHARS_MAX, read_text, write_text
from tidegate.errors import InvalidArgument

TEXT = """\
# yaml-language-server: $schema=tidegate.schema.json
endpoint: churn
traffic: {1: 90, 2: 10}
monitor:
  on: true
  by: no
  every: 5m
---
---
endpoint: fraud
version: "1.10"
alerts:
  errors: {for: 1e3, actions: [rollback]}
"""


def test_documents_are_plain_data_with_the_line_of_each_path() -> None:
    first, second = read_text(TEXT)
    assert first.data == {
        "endpoint": "churn",
        "traffic": {1: 90, 2: 10},
        "monitor": {"on": True, "by": "no", "every": "5m"},
    }
    assert second.data["alerts"] == {"errors": {"for": 1000.0, "actions": ["rollback"]}}
    assert second.data["version"] == "1.10"
    assert (first.line_of("monitor.every"), first.line_of("monitor.evry"), first.line_of("")) == (7, 4, 2)
    assert second.line_of("alerts.errors.actions[0]") == 13


def test_json_is_yaml_too() -> None:
    assert read_text('{"endpoint": "churn", "replicas": 2}')[0].data == {"endpoint": "churn", "replicas": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("endpoint: a\nendpoint: b\n", "line 2: 'endpoint' stands twice, first on line 1"),
        ("a: {b: 1, b: 2}\n", "stands twice"),
        ("endpoint: !!python/object/apply:os.system [x]\n", "the tag"),
        ("endpoint: !!python/name:os.system x\n", "the tag"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "merging"),
        ("a: [1\n", "line 2, column 1: the file is no YAML"),
        ("{[1]: 2}", "a name must be text"),
        ("", "no document"),
        ("---\n---\n", "no document"),
        ("[" * 5000, "no YAML|nests more"),
        ("a: " + "[" * (DEPTH_MAX + 2) + "]" * (DEPTH_MAX + 2), "levels"),
        ("x" * (TEXT_CHARS_MAX + 1), "may have"),
        ("a: &a [*a]", "levels"),
    ],
)
def test_what_is_no_plain_data_or_too_much_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        read_text(text)


def test_a_few_lines_of_aliases_do_not_become_a_flood() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(InvalidArgument, match=f"more than {NODES_MAX:,} values"):
        read_text(text)


def test_what_is_written_is_read_the_same() -> None:
    data = {
        "endpoint": "churn",
        "version": "1e3",
        "traffic": {"1": 90, "2": 10.5},
        "monitor": {"on": False, "by": "yes", "every": "5m", "timezone": "12:30"},
        "capture": {"drop": ["null", "3", "~", "größe", "a: b", "true"]},
    }
    text = write_text([data, {"endpoint": "b"}])
    assert text.startswith("# yaml-language-server: $schema=")
    assert "\n  on: false\n" in text
    assert [one.data for one in read_text(text)] == [data, {"endpoint": "b"}]
