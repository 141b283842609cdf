"""Names of images, and the Dockerfile as a person and an engine read it."""

from __future__ import annotations

import re

import pytest

from tidegate.core.images.contents import ImageContents, check_base, check_tag, dockerfile, labels, registry_of
from tidegate.core.images.sbom import Library, bill_of_materials
from tidegate.errors import InvalidArgument

CHURN = ImageContents(
    model="churn", version="3", digest="d" * 64, tidegate="0.1.0", base="python:3.11-slim", run_id="r1"
)


def test_what_changes_with_every_version_comes_last() -> None:
    steps = [line for line in dockerfile(CHURN).splitlines() if re.match(r"[A-Z]+ ", line)]
    last_stage = steps[max(index for index, step in enumerate(steps) if step.startswith("FROM")) :]
    assert [step.split()[0] for step in last_stage][-2:] == ["COPY", "LABEL"]
    assert last_stage[-2] == "COPY model/ /model/"
    assert not any("3" in step for step in last_stage[:-1] if "churn" in step)
    other = dockerfile(ImageContents(**{**vars(CHURN), "version": "4", "digest": "e" * 64}))
    before = other.index("COPY model/")
    assert other[other.index("ARG BASE") : before] == dockerfile(CHURN)[dockerfile(CHURN).index("ARG BASE") : before]


def test_the_image_is_no_roots_and_asks_for_a_key_by_binding_all_addresses() -> None:
    text = dockerfile(CHURN)
    users = re.findall(r"^USER (\S+)", text[text.rindex("FROM") :], re.MULTILINE)
    assert users == ["10001:10001"]
    assert '"--host", "0.0.0.0"' in text
    assert "HEALTHCHECK" in text
    assert "--mount" not in text  # any builder builds it


def test_labels_can_hold_anything_and_stay_one_instruction() -> None:
    nasty = ImageContents(**{**vars(CHURN), "run_id": 'a "quoted" $HOME\\\nRUN rm -rf /'})
    text = dockerfile(nasty)
    assert 'io.tidegate.run-id="a \\"quoted\\" \\$HOME\\\\ RUN rm -rf /"' in text
    assert not [line for line in text.splitlines() if line.startswith("RUN rm")]
    assert labels(CHURN)["org.opencontainers.image.version"] == "3"
    assert "io.tidegate.run-id" not in labels(ImageContents(**{**vars(CHURN), "run_id": None}))


@pytest.mark.parametrize(
    ("tag", "whole"),
    [
        ("churn", "churn:latest"),
        ("churn:3", "churn:3"),
        ("localhost:5000/team/churn", "localhost:5000/team/churn:latest"),
        ("Registry.example.com/team_a/churn-x:v1.0.0", "Registry.example.com/team_a/churn-x:v1.0.0"),
    ],
)
def test_names_of_images(tag: str, whole: str) -> None:
    assert check_tag(tag) == whole


@pytest.mark.parametrize("tag", ["", "Churn Model", "-v", "churn:", "churn@sha256:" + "a" * 64, "a/" * 300, "x:y:z/"])
def test_no_names_of_images(tag: str) -> None:
    with pytest.raises(InvalidArgument, match="tag"):
        check_tag(tag)


def test_bases_may_be_digests_and_ids_and_never_options() -> None:
    for base in ("python:3.11-slim", "python@sha256:" + "a" * 64, "sha256:" + "a" * 64, "f13ebe34115c"):
        assert check_base(base) == base
    for base in ("--privileged", "", "two words", "$(id)"):
        with pytest.raises(InvalidArgument, match="base"):
            check_base(base)


def test_the_registry_of_a_name() -> None:
    assert registry_of("registry.example.com/team/churn:3") == "registry.example.com"
    assert registry_of("localhost/churn") == "localhost"
    assert registry_of("team/churn:3") is None


def test_the_bill_of_materials_is_the_same_for_the_same_contents() -> None:
    libraries = [Library("numpy", "2.4.6", "a" * 64, "BSD-3-Clause"), Library("torch", "2.13.0+cpu", "b" * 64)]
    bill = bill_of_materials(CHURN, "sha256:base", libraries)
    assert bill == bill_of_materials(CHURN, "sha256:base", libraries[::-1])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    by_name = {component["name"]: component for component in bill["components"]}
    assert by_name["numpy"]["purl"] == "pkg:pypi/numpy@2.4.6"
    assert by_name["torch"]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert by_name["numpy"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert by_name["python:3.11-slim"]["version"] == "sha256:base"
    refs = [component["bom-ref"] for component in bill["components"]]
    assert bill["dependencies"] == [{"ref": "model", "dependsOn": refs}]
    other = bill_of_materials(CHURN, "sha256:other", libraries)
    assert other["serialNumber"] != bill["serialNumber"]
