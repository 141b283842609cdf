"""Manifests as files: what whoever applies them should know as comments, then the objects. Pure, always the same."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tidegate.core.declared.yaml_text import PlainDumper
from tidegate.core.manifests.pods import KEY_IN_SECRET
from tidegate.core.manifests.served import CLOUDRUN, ECS, KUBERNETES

WIDTH = 100
_KEY = "Clients send the key of the Secret as 'Authorization: Bearer KEY'; make it once, before:"
_INTRO = {
    KUBERNETES: "Images of 'tidegate build' on Kubernetes 1.30 or later, without a platform. A HorizontalPodAutoscaler "
    f"needs the metrics server. {_KEY}",
    CLOUDRUN: "Images of 'tidegate build' on Google Cloud Run, without a platform: 'gcloud run services replace FILE' "
    "(one service at a time). Cloud Run asks who calls besides: grant allUsers, or those who may, the role "
    f"roles/run.invoker, whose token goes into X-Serverless-Authorization. {_KEY}",
}
_FILE_OF = re.compile(r"[^a-z0-9]+")


_FOLDING = textwrap.TextWrapper(
    WIDTH - 2, initial_indent="! ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
)


class _Dumper(PlainDumper):
    """Quotes besides what kubectl's reader of YAML takes for a boolean or a number: an endpoint may be called so."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^0[oxb][0-9a-f]+$"), ["0"])


def write_manifests(objects: Iterable[Mapping[str, Any]], warnings: Sequence[str] = (), form: str = KUBERNETES) -> str:
    """Objects as one file: YAML, and for ECS the JSON of its requests, in which no comment can be.

    The value of no secret is in it; the comment says how to make those it names.
    """
    found = list(objects)
    if form == ECS:
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    lines = [f"# {line}" for line in textwrap.wrap(_INTRO[form], WIDTH - 2)]
    lines += [f"#   {command}" for command in _secrets(found)]
    for warning in warnings:
        lines += [f"# {line}" for line in _FOLDING.wrap(warning)]
    parts = [yaml.dump(dict(one), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH) for one in found]
    return "\n".join(lines) + "\n---\n" + "---\n".join(parts)


def files_of(requests: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Of each request of AWS: what its file is called, what is in it, and the command that takes it."""
    found = []
    for number, request in enumerate(requests, 1):
        name = f"{number}-{_FILE_OF.sub('-', str(request['command']).partition(' ')[2])}.json"
        found.append((name, json.dumps(request["input"], indent=2, ensure_ascii=False) + "\n", str(request["command"])))
    return found


def key_commands(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the keys are made that the task definitions among these requests of AWS name; once, before."""
    containers = [one for request in requests for one in request["input"].get("containerDefinitions", ())]
    return [
        f'aws ssm put-parameter --type SecureString --name {secret["valueFrom"]} --value "$(openssl rand -hex 32)"'
        for container in containers
        for secret in container["secrets"]
    ]


def _secrets(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    of_google = [str(one["metadata"]["name"]) for one in objects if one["apiVersion"].startswith("serving.knative.dev")]
    of_cluster = [str(one["metadata"]["name"]) for one in objects if one["kind"] == "Deployment"]
    return [
        *(
            f'kubectl create secret generic {name} --from-literal={KEY_IN_SECRET}="$(openssl rand -hex 32)"'
            for name in of_cluster
        ),
        *(f"openssl rand -hex 32 | tr -d '\\n' | gcloud secrets create {name} --data-file=-" for name in of_google),
    ]
