"""Manifests as a file: what whoever applies it should know as comments, then the objects. Pure, and always the same."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tidegate.core.declared.yaml_text import PlainDumper
from tidegate.core.manifests.pods import KEY_IN_SECRET

WIDTH = 100
_INTRO = (
    "Images of 'tidegate build' on Kubernetes 1.30 or later, without a platform. A HorizontalPodAutoscaler needs the "
    "metrics server. Clients send the key of the Secret as 'Authorization: Bearer KEY'; make it once, before:"
)


_FOLDING = textwrap.TextWrapper(
    WIDTH - 2, initial_indent="! ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
)


class _Dumper(PlainDumper):
    """Quotes besides what kubectl's reader of YAML takes for a boolean or a number: an endpoint may be called so."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^0[oxb][0-9a-f]+$"), ["0"])


def write_manifests(objects: Iterable[Mapping[str, Any]], warnings: Sequence[str] = ()) -> str:
    """Objects as one file of YAML. The value of no secret is in it; the comment says how to make those it names."""
    found = list(objects)
    lines = [f"# {line}" for line in textwrap.wrap(_INTRO, WIDTH - 2)]
    lines += [f"#   {_make_secret(name)}" for name in _secrets(found)]
    for warning in warnings:
        lines += [f"# {line}" for line in _FOLDING.wrap(warning)]
    parts = [yaml.dump(dict(one), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH) for one in found]
    return "\n".join(lines) + "\n---\n" + "---\n".join(parts)


def _secrets(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(one["metadata"]["name"]) for one in objects if one["kind"] == "Deployment"]


def _make_secret(name: str) -> str:
    return f'kubectl create secret generic {name} --from-literal={KEY_IN_SECRET}="$(openssl rand -hex 32)"'
