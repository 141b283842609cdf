"""YAML into documents and back: plain data alone, with bounds, and with the line that each field stands on. Pure.

Scalars are those of YAML 1.2: `on`, `yes` and `12:30` are text. Tags, merges and keys that stand twice are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tidegate.core.declared.endpoint import SCHEMA_FILE
from tidegate.errors import InvalidArgument

TEXT_CHARS_MAX, DOCUMENTS_MAX, NODES_MAX, DEPTH_MAX = 256 << 10, 100, 20_000, 16
LINE_CHARS = 100
HEADER = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_DIGITS_MAX = 300


@dataclass(frozen=True)
class TextDocument:
    """A document of a text: its data, the line it begins on, and the line of each path in it."""

    data: Any
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of a path, or of what it is in."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, self.line)


def read_text(text: str) -> list[TextDocument]:
    """The documents of a text, those that are empty left out. Raises `InvalidArgument`, with the line."""
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidArgument(f"the file has {len(text):,} characters, and may have {TEXT_CHARS_MAX:,}")
    found = []
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            reading = _Reading()
            data = reading.plain(node, "", 0)
            if data is not None:
                found.append(TextDocument(data, node.start_mark.line + 1, reading.lines))
            if len(found) > DOCUMENTS_MAX:
                raise InvalidArgument(f"the file has more than {DOCUMENTS_MAX} documents: split it")
    except yaml.YAMLError as error:
        raise InvalidArgument(_words(error)) from None
    except RecursionError:
        raise InvalidArgument(f"the file nests more than {DEPTH_MAX} levels deep") from None
    if not found:
        raise InvalidArgument("the file has no document: begin with 'endpoint: NAME'")
    return found


def _words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{where}the file is no YAML: {problem}"


@dataclass
class _Reading:
    """One document on its way. What an alias stands for counts each time, so that few lines cannot become a flood."""

    nodes: int = 0
    lines: dict[str, int] = field(default_factory=dict)

    def plain(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.nodes += 1
        if self.nodes > NODES_MAX or depth > DEPTH_MAX:
            raise InvalidArgument(
                f"line {line}: the document has more than {NODES_MAX:,} values or {DEPTH_MAX} levels (aliases count "
                "each time they are used)"
            )
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.plain(one, f"{path}[{place}]", depth + 1) for place, one in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        raise InvalidArgument(f"line {line}: the tag {node.tag!r} is not read: documents are plain data")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise InvalidArgument(f"line {line}: a name must be text")
            key = _scalar(key_node)
            if key_node.value == "<<":
                raise InvalidArgument(f"line {line}: merging with '<<' is not read: write the fields out")
            below = f"{path}.{key}" if path else str(key)
            if key in found:
                raise InvalidArgument(f"line {line}: {key!r} stands twice, first on line {self.lines[below]}")
            self.lines[below] = line
            found[key] = self.plain(value_node, below, depth + 1)
        return found


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.style in ("'", '"', "|", ">"):
        return node.value
    if node.tag.startswith("tag:yaml.org,2002:python") or not node.tag.startswith("tag:yaml.org,2002:"):
        raise InvalidArgument(f"line {node.start_mark.line + 1}: the tag {node.tag!r} is not read: give plain data")
    text = str(node.value)
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if len(text) < _DIGITS_MAX and _INT.match(text):
        return int(text)
    if len(text) < _DIGITS_MAX and _FLOAT.match(text):
        return float(text)
    return text


class PlainDumper(yaml.SafeDumper):
    """Quotes what a reader of YAML 1.1 or 1.2 would not take for text; shares nothing by anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


PlainDumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def write_text(documents: Iterable[Mapping[str, Any]]) -> str:
    """Documents as a file that `read_text` reads, and that editors complete by the schema beside it."""
    parts = [
        yaml.dump(dict(one), Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=LINE_CHARS)
        for one in documents
    ]
    # `on` is a name here, and text in YAML 1.2.
    return HEADER + "---\n".join(re.sub(r"^(\s+)'on':", r"\1on:", part, flags=re.MULTILINE) for part in parts)
