"""What comes of a stream: the version whole and inside its folder, or an error. Hypothesis makes hostile streams."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.control import SIGNATURE
from tidegate.adapters.artifacts.packed import packed_version
from tidegate.fetch.unpack import Incomplete, Unpacked, unpack
from tidegate.packaging.filelist import FILES, find_fault, write_list
from tidegate.wire.replicas.manifest import Accelerated, Manifest, encode_manifest, read_manifest
from tidegate.wire.replicas.package_tar import BadEntry, check_name, head_of, padding_bytes, read_head

DIGEST = "ab" * 32
LONG = "/".join(["a-folder-of-some-length"] * 12) + "/ä file's name.txt"
CONTENTS = {"MLmodel": b"flavors: {}\n", "data/model.bin": bytes(range(256)) * 40, "empty": b"", LONG: b"far down"}
SERVED = Manifest("churn", "3", DIGEST, "package", "sklearn", SIGNATURE, [0.0, 1.0])


def stored(folder: Path) -> Path:
    package = folder / DIGEST
    for name, content in CONTENTS.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(content)
    write_list(package)
    return package


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A version as the control plane sends it."""
    manifest = msgspec.structs.replace(SERVED, package_dir="/somewhere/else", environment="an-environment")
    packed = packed_version(manifest, stored(tmp_path_factory.mktemp("store")))
    whole = b"".join(packed.chunks())
    assert len(whole) == packed.size_bytes
    return whole


def unpacked(data: bytes) -> tuple[Unpacked, set[str]]:
    """Into a folder of its own beside nothing; what is in it afterwards, whatever came."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder, "a", "into")
        into.mkdir(parents=True)
        try:
            came = unpack(io.BytesIO(data), into, DIGEST)
            assert find_fault(into / came.folder) is None
            assert read_manifest(into / "manifest.json") == came.manifest
            return came, {str(path.relative_to(into)) for path in into.rglob("*") if path.is_file()}
        finally:
            outside = [path for path in Path(folder).rglob("*") if path != into and into not in path.parents]
            assert outside == [into.parent]
            assert not [path for path in into.rglob("*") if path.is_symlink()]


def tar_of(*entries: tuple[str, bytes]) -> bytes:
    return b"".join(
        head_of(name, len(data)) + data + bytes(padding_bytes(len(data))) for name, data in entries
    ) + bytes(1024)


def listed(**files: bytes) -> bytes:
    """The list of a folder with these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        write_list(Path(folder))
        return Path(folder, FILES).read_bytes()


def test_a_version_comes_whole_with_the_files_of_its_list_alone(sent: bytes) -> None:
    came, files = unpacked(sent)
    assert came.manifest == SERVED
    assert files == {"manifest.json", f"package/{FILES}", *(f"package/{name}" for name in CONTENTS)}
    assert came.size_bytes == sum(map(len, CONTENTS.values()))
    with tarfile.open(fileobj=io.BytesIO(sent)) as ordinary:  # it is a tar like any other
        assert f"package/{LONG}" in ordinary.getnames()


def test_a_faster_form_comes_without_the_package(tmp_path: Path) -> None:
    package = stored(tmp_path)
    form = tmp_path / f"{DIGEST}.trees"
    form.mkdir()
    (form / "trees.npz").write_bytes(b"fast")
    manifest = msgspec.structs.replace(SERVED, accelerated=Accelerated("trees", form.name))
    came, files = unpacked(b"".join(packed_version(manifest, package).chunks()))
    assert came.manifest.accelerated == Accelerated("trees", "form")
    assert files == {"manifest.json", f"form/{FILES}", "form/trees.npz"}


def test_a_file_that_was_changed_on_the_way_is_found(sent: bytes) -> None:
    at = sent.index(b"far down")
    with pytest.raises(BadEntry, match="SHA-256"):
        unpacked(sent[:at] + b"far DOWN" + sent[at + 8 :])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_stream_that_ends_early_is_never_taken_for_whole(sent: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(sent) - 1))
    with pytest.raises((Incomplete, BadEntry)):
        unpacked(sent[:end])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bytes_that_were_changed_are_refused_or_were_not_looked_at(sent: bytes, data: st.DataObject) -> None:
    """Modes, owners and times of a head count in its checksum, and padding counts nowhere."""
    position = data.draw(st.integers(0, len(sent) - 1))
    changed = bytearray(sent)
    changed[position] ^= data.draw(st.integers(1, 255))
    try:
        came, _files = unpacked(bytes(changed))
    except BadEntry:
        return
    assert came.manifest.digest == DIGEST


NAMES = st.one_of(
    st.sampled_from(["../x", "/etc/x", "package/../../x", "package//x", "package/./x", ".", "", "other/x", "form/x"]),
    st.sampled_from(["package/x", "package/x/y", f"package/{FILES}", "manifest.json", "package/" + "n" * 300]),
    st.text(max_size=20).map(lambda text: f"package/{text}"),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=4), st.booleans(), st.booleans())
def test_no_stream_writes_outside_the_folder(entries: list[tuple[str, bytes]], manifest: bool, files: bool) -> None:
    before = [("manifest.json", encode_manifest(SERVED))] if manifest else []
    before += [(f"package/{FILES}", listed(x=b"1"))] if files else []
    try:
        data = tar_of(*before, *entries)
    except (UnicodeEncodeError, ValueError):
        return
    try:
        _came, found = unpacked(data)
    except (BadEntry, Incomplete):
        return
    assert found == {"manifest.json", f"package/{FILES}", "package/x"}


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=512, max_size=512), st.binary(max_size=2048))
def test_any_bytes_are_refused(head: bytes, rest: bytes) -> None:
    with pytest.raises((BadEntry, Incomplete)):
        unpacked(head + rest)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_devices_and_folders_are_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("package/x")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(BadEntry):
        read_head(info.tobuf(tarfile.GNU_FORMAT))
    plain = tarfile.TarInfo("package/x")
    plain.linkname = "/etc/passwd"
    with pytest.raises(BadEntry, match="link"):
        read_head(plain.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        pytest.param([("package/x", b"1")], "begins with", id="no manifest"),
        pytest.param([("manifest.json", b"{}")], "manifest cannot be read", id="no such manifest"),
        pytest.param([("manifest.json", b"[" * 100_000)], "manifest cannot be read", id="deep"),
        pytest.param([("manifest.json", encode_manifest(SERVED)), ("package/x", b"1")], "not the list", id="no list"),
        pytest.param(
            [("manifest.json", encode_manifest(SERVED)), (f"form/{FILES}", listed(x=b"1"))], "not the list", id="form"
        ),
        pytest.param(
            [
                ("manifest.json", encode_manifest(SERVED)),
                (f"package/{FILES}", listed(x=b"1", y=b"1")),
                ("package/x", b"1"),
                ("package/x", b"1"),
            ],
            "came before",
            id="twice",
        ),
        pytest.param(
            [
                ("manifest.json", encode_manifest(SERVED)),
                (f"package/{FILES}", listed(x=b"1").replace(b'"x"', b'"../x"')),
                ("package/../x", b"1"),
            ],
            "out of the folder",
            id="a list that leads out",
        ),
        pytest.param(
            [
                ("manifest.json", encode_manifest(SERVED)),
                (f"package/{FILES}", listed(x=b"1", y=b"1").replace(b'"y"', b'"x/y"')),
                ("package/x", b"1"),
                ("package/x/y", b"1"),
            ],
            "a file",
            id="below a file",
        ),
    ],
)
def test_what_is_no_version_says_why(entries: list[tuple[str, bytes]], why: str) -> None:
    with pytest.raises(BadEntry, match=why):
        unpacked(tar_of(*entries))


def test_another_version_than_was_asked_for_is_refused(sent: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadEntry, match="was asked for"):
        unpack(io.BytesIO(sent), tmp_path, "cd" * 32)


def test_sizes_that_nobody_has_are_refused_before_they_are_read(tmp_path: Path) -> None:
    for name, size in (("manifest.json", 1 << 40), ("manifest.json", (1 << 64))):
        with pytest.raises(BadEntry, match="are allowed"):
            unpack(io.BytesIO(head_of(name, size)), tmp_path, DIGEST)


@pytest.mark.parametrize("name", ["package", "package/", "/package/x", "package/\0x", "manifest.json/x", "PACKAGE/x"])
def test_names_of_no_version_are_refused(name: str) -> None:
    with pytest.raises(BadEntry):
        check_name(name)
