"""The published schema: current, and of one mind with what is read, of the documentation's examples and of mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tidegate.core.declared.endpoint import SCHEMA_FILE, read_endpoint, schema
from tidegate.core.declared.yaml_text import read_text
from tidegate.errors import InvalidArgument

DOCS = Path(__file__).resolve().parents[3] / "docs"
EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{place}")
    for page in sorted(DOCS.glob("*.md"))
    for place, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL))
    if re.search(r"^endpoint: ", block, flags=re.MULTILINE)
]


def _as_json(data: Any) -> Any:
    """What an editor checks: names are text."""
    return json.loads(json.dumps(data))


def test_the_published_schema_is_current() -> None:
    assert json.loads((DOCS / "reference" / SCHEMA_FILE).read_text()) == schema()


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_documentation_are_read_and_valid(text: str) -> None:
    validator = jsonschema_rs.validator_for(schema())
    for one in read_text(text):
        read_endpoint(one.data)
        validator.validate(_as_json(one.data))


def test_the_documentation_has_examples() -> None:
    assert len(EXAMPLES) >= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"endpoint": "Churn"},
        {"endpoint": "a", "colour": "red"},
        {"endpoint": "a", "version": "1", "traffic": {"1": 100}},
        {"endpoint": "a", "follow": "champion"},
        {"endpoint": "a", "replicas": 0},
        {"endpoint": "a", "replicas": 1, "scaling": {"min": 1, "max": 2, "target": "rps=1"}},
        {"endpoint": "a", "scaling": {"min": 1}},
        {"endpoint": "a", "monitor": {"evry": "5m"}},
        {"endpoint": "a", "monitor": {"every": "soon"}},
        {"endpoint": "a", "placement": {"backend": "abacus"}},
        {"endpoint": "a", "placement": {"memory": "much"}},
        {"endpoint": "a", "capture": {"sample": 2}},
        {"endpoint": "a", "alerts": {"weather": {}}},
        {"endpoint": "a", "alerts": {"errors": {"group_by": ["colour"]}}},
        {"endpoint": "a", "traffic": {"1": 101}},
    ],
)
def test_what_the_schema_refuses_is_not_read_either(wrong: dict[str, Any]) -> None:
    assert not jsonschema_rs.validator_for(schema()).is_valid(wrong)
    with pytest.raises(InvalidArgument):
        read_endpoint(wrong)
