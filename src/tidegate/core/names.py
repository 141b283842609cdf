"""Names of endpoints, models, versions and devices: which are allowed, and how a reference is read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegate.errors import InvalidArgument

TOLD_CHARS_MAX = 80
_DEVICE = re.compile(r"cpu|auto|cuda(:\d{1,3})?")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]{0,63}")


def _told(text: str) -> str:
    """As a message has it: of what is far too long, the beginning."""
    return repr(text) if len(text) <= TOLD_CHARS_MAX else f"{text[:TOLD_CHARS_MAX]!r}… ({len(text):,} characters)"


def check_name(name: str, what: str) -> str:
    """`name` if it is a DNS label, else `InvalidArgument`; `what` is "model" or "endpoint"."""
    if not _DNS_LABEL.fullmatch(name):
        raise InvalidArgument(
            f"{what} name {_told(name)} is not allowed: use 1 to 63 lower-case letters, digits and hyphens, "
            "with a letter or digit first and last (for example 'churn-v2')",
            field=what,
        )
    return name


def check_fits(name: str, chars_max: int, endpoint: str, where: str) -> str:
    """`name`, which an object of `endpoint` would have, if it has up to `chars_max` characters, else `InvalidArgument`.

    >>> check_fits("tidegate-churn", 63, "churn", "Kubernetes")
    'tidegate-churn'
    """
    if len(name) > chars_max:
        fits = chars_max - len(name) + len(endpoint)
        raise InvalidArgument(
            f"endpoint {endpoint!r} is too long for {where}, where it would be called {name!r}: that has {len(name)} "
            f"characters, and {chars_max} are allowed. Give it a name of up to {fits}",
            field="endpoint",
        )
    return name


def check_label(label: str) -> str:
    """`label` if it may name a version: letters, digits, '.', '_', '-', and no plain number, which is a version."""
    if not _LABEL.fullmatch(label) or label.isdigit() or label == "latest":
        raise InvalidArgument(
            f"label {_told(label)} is not allowed: use 1 to 64 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit, and neither a plain number nor 'latest' (for example 'v1.0.0')",
            field="label",
        )
    return label


def check_device(device: str) -> str:
    """`device` if it is `cpu`, `auto`, `cuda` or `cuda:N`; whether it exists, the replica finds out."""
    if not _DEVICE.fullmatch(device):
        raise InvalidArgument(f"device {_told(device)} is none of cpu, auto, cuda and cuda:N", field="device")
    return device


MODELS_SCHEME = "models:/"


@dataclass(frozen=True)
class ModelRef:
    """`name`, `name:version` (a number or a label) or `name@alias`; at most one of version and alias."""

    name: str
    version: str | None = None
    alias: str | None = None


def parse_ref(text: str) -> ModelRef:
    """Read `churn`, `churn:3`, `churn:v1.0.0`, `churn@champion`, and as MLflow writes them `models:/churn/3` and
    `models:/churn@champion`.
    """
    text = _of_uri(text) if text.startswith(MODELS_SCHEME) else text
    name, at, alias = text.partition("@")
    name, colon, version = name.partition(":")
    check_name(name, "model")
    if at and version:
        raise InvalidArgument(
            f"{_told(text)} names both a version and an alias: give NAME:VERSION or NAME@ALIAS", field="model"
        )
    if (at and not alias) or (colon and not version and not at):
        raise InvalidArgument(f"{_told(text)} ends early: give NAME:VERSION or NAME@ALIAS", field="model")
    return ModelRef(name, version or None, alias or None)


def _of_uri(uri: str) -> str:
    rest = uri.removeprefix(MODELS_SCHEME)
    name, slash, version = rest.partition("/")
    if "@" in rest:
        return rest
    if not slash or not version.isdigit():
        raise InvalidArgument(
            f"uri {_told(uri)} names no version: give models:/NAME/3 or models:/NAME@ALIAS", field="model"
        )
    return f"{name}:{version}"
