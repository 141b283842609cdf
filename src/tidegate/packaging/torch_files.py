"""Tells PyTorch's files apart, and whether loading an exported program could run code of the file. Never loads one.

`torch.export.load` unpickles what the archive says is pickled, evaluates its size expressions with SymPy and looks its
operators up by dotted name from `torch` on. A file in which each of these is of a harmless kind needs no grant.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

TorchKind = Literal["torchscript", "torch_export", "pickled"]

TORCHSCRIPT_REASON = "it is a TorchScript program, and loading it runs code from the file"
JSON_BYTES_MAX = 256 << 20
_PLAIN_NAMES = re.compile(
    r"(archive_format|archive_version|byteorder|version|\.data/\w+|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/(weights|constants)/((weight|tensor|constant)_\d+|model_(weights|constants)_config\.json)|extra/.*)"
)
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file|save\b)(?!\w*__)\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc)"
)
_SYMBOL = re.compile(r"Symbol\('\w+'(, \w+=(True|False))*\)")
_FUNCTIONS = re.compile(
    r"Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|Abs|FloorDiv|ModularIndexing|Where"
    r"|PythonMod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|PowByNatural|FloatPow|FloatTrueDiv"
    r"|IntTrueDiv|TruncToFloat|TruncToInt|RoundToInt|ToFloat|Identity|And|Or|Not|Eq|Ne|Equality"
    r"|Unequality|StrictGreaterThan|StrictLessThan|GreaterThan|LessThan|true|false|True|False"
    r"|evaluate|positive|integer|oo|int_oo"
)
_TENSOR_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage|torch (Size|device)"
    r"|torch\.serialization _get_layout"
)


_END = struct.Struct("<4s4H2LH")
"""The end of a zip: mark, disks and counts, the table of contents' length and offset, the comment's length."""
_END_64 = struct.Struct("<4sQ2H2L4Q4sLQL")
"""What stands before it in the large form, which PyTorch writes for all sizes: its own end, and where that begins."""
_IN_64 = 0xFFFFFFFF


def torch_kind(names: list[str]) -> TorchKind | None:
    """What a zip with these members is; None when PyTorch did not write it."""
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner and any(name.startswith("models/") for name in inner):
        return "torch_export"
    if "serialized_exported_program.json" in names:
        return "torch_export"
    if "data.pkl" not in inner:
        return None
    return "torchscript" if "constants.pkl" in inner else "pickled"


def export_reason(path: Path) -> str | None:
    """Why loading this exported program needs a grant; None for the ordinary kind, which holds nothing but tensors,
    PyTorch's own operators and plain size expressions.
    """
    try:
        what = next(_unusual(path), None)
    except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        what = "parts that cannot be read"
    return None if what is None else f"the exported program holds {what}, and loading it can run code from the file"


def _unusual(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        roots = {name.partition("/")[0] for name in names}
        if len(roots) != 1 or len(set(names)) != len(names) or _has_two_directories(path):
            yield "two tables of contents"
        root = roots.pop() + "/"
        inner = [name.removeprefix(root) for name in names]
        yield from (f"the part {name!r}" for name in inner if not _PLAIN_NAMES.fullmatch(name))
        for kind in ("weights", "constants"):
            config = _json(archive, f"{root}data/{kind}/model_{kind}_config.json")
            if any(entry.get("use_pickle") is not False for entry in config["config"].values()):
                yield f"pickled {kind}"
        yield from _unusual_pickle(archive.read(f"{root}data/sample_inputs/model.pt"))
        yield from _unusual_graph(_json(archive, f"{root}models/model.json"))


def _has_two_directories(path: Path) -> bool:
    """Whether another reader may find other contents than Python's: where the ends of the table do not all agree."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        file.seek(-_END.size, io.SEEK_END)
        mark, *_, size_bytes, offset, comment_bytes = _END.unpack(file.read())
        if mark != b"PK\x05\x06" or comment_bytes:
            return True
        if size_bytes + offset + _END.size == file_bytes:
            return False
        file.seek(-_END.size - _END_64.size, io.SEEK_END)
        mark, *_, size_64, offset_64, locator, _, record_at, _ = _END_64.unpack(file.read(_END_64.size))
    agree = size_bytes in (size_64, _IN_64) and offset in (offset_64, _IN_64) and record_at == size_64 + offset_64
    whole = record_at + _END_64.size + _END.size == file_bytes
    return not (mark == b"PK\x06\x06" and locator == b"PK\x06\x07" and agree and whole)


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > JSON_BYTES_MAX:
        raise ValueError(f"{name} is too large to be looked through")
    return json.loads(archive.read(name))


def _unusual_pickle(content: bytes) -> Iterator[str]:
    """Anything in the sample inputs but tensors in plain containers."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].endswith("/data.pkl") or content.count(b"PK\x05\x06") != 1:
            yield "more than one pickle"
        for name in pickles:
            for op, arg, _ in pickletools.genops(archive.read(name)):
                if op.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                    yield "a pickle that names classes"
                if op.name == "GLOBAL" and not _TENSOR_GLOBALS.fullmatch(str(arg)):
                    yield f"a pickle that names {arg}"


def _unusual_graph(value: Any) -> Iterator[str]:
    """Operators that are not PyTorch's own, expressions that are more than arithmetic, types that are imported."""
    if isinstance(value, list):
        for item in value:
            yield from _unusual_graph(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if isinstance(item, dict | list):
            yield from _unusual_graph(item)
        elif isinstance(item, str) and not _is_plain(key, item, is_node="inputs" in value):
            yield f"{item[:80]!r}"


def _is_plain(key: str, text: str, *, is_node: bool) -> bool:
    if key == "as_operator" or (key == "target" and is_node):
        return _OPERATOR.fullmatch(text) is not None
    if key == "expr_str":
        return _is_arithmetic(text)
    if key in ("in_spec", "out_spec", "treespec"):
        return "__enum__" not in text and "default_factory_module" not in text and "\\u" not in text
    return key != "class_fqn"


def _is_arithmetic(text: str) -> bool:
    """Numbers, symbols and the functions that sizes are written with: no attribute, no string, no other name."""
    bare = _SYMBOL.sub("1", text)
    if not re.fullmatch(r"[\w\s+\-*/%(),.<>=!&|~]*", bare) or re.search(r"[A-Za-z_)]\s*\.|\.\s*[A-Za-z_]", bare):
        return False
    names = re.findall(r"[A-Za-z_]\w*", bare)
    return all(_FUNCTIONS.fullmatch(name) or re.fullmatch(r"[suzf]\d+", name) for name in names)
