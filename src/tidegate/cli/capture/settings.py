"""`capture-settings`: what is recorded of an endpoint, and for how long."""

from __future__ import annotations

import re
from typing import Any

import click

from tidegate.cli.app import App, command, yes_option
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import size, span
from tidegate.errors import InvalidArgument
from tidegate.wire.capture.capture import CaptureSettings, CaptureSettingsRequest

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@command(
    "capture-settings",
    "tidegate capture-settings churn",
    "tidegate capture-settings churn --sample 0.1 --retain 7d",
    "tidegate capture-settings churn --drop name --hash email --hash-keys",
    "tidegate capture-settings churn --drop '' --sample 1",
)
@click.argument("endpoint")
@click.option("--sample", type=click.FloatRange(0, 1), help="The share of requests whose rows are recorded.")
@click.option("--drop", multiple=True, metavar="COL", help="Columns that are not recorded; '' for none.")
@click.option("--hash", "hash_", multiple=True, metavar="COL", help="Columns of which a hash is; '' for none.")
@click.option("--hash-keys/--no-hash-keys", default=None, help="Whether of units' keys a hash is recorded alone.")
@click.option(
    "--selective-labels/--all-labels",
    "selective",
    default=None,
    help="Labels come for rows that were chosen by prediction or outcome: monitors average none.",
)
@click.option("--retain", metavar="SPAN", help="Keep rows for so long, such as 30d; 0d: as the platform does.")
@click.option("--retain-bytes", metavar="SIZE", help="Keep at most so much, such as 10g; 0: as the platform does.")
def capture_settings(app: App, endpoint: str, **given: Any) -> None:
    """Show or set what is recorded of an endpoint's predictions. What is not given stays.

    Gateways leave out and hash before anything is written, within seconds of the change. Columns are those of the
    model's inputs and outputs. Hashes are keyed: equal values stay equal, and cannot be guessed from the rows alone.
    Rows that are there already stay as they are, but for how long they are kept.
    """
    request = CaptureSettingsRequest(
        sample=given["sample"],
        drop=_columns(given["drop"]),
        hash=_columns(given["hash_"]),
        hash_keys=given["hash_keys"],
        retain_s=None if given["retain"] is None else seconds(given["retain"], "--retain"),
        retain_bytes=None if given["retain_bytes"] is None else _bytes(given["retain_bytes"]),
    )
    client = app.client()
    if given["selective"] is not None:
        client.monitoring.set(endpoint, selective_labels=given["selective"])
    if request == CaptureSettingsRequest():
        found = client.capture.settings(endpoint)
    else:
        found = client.capture.set_settings(endpoint, request)
    app.emit(found, lambda: _said(found, selective=client.monitoring.get(endpoint).selective_labels))


@command("capture-forget", "tidegate capture-forget churn --key user-4711 --yes")
@click.argument("endpoint")
@click.option("--key", required=True, help="The unit whose rows are to go.")
@yes_option
def capture_forget(app: App, endpoint: str, key: str, yes: bool) -> None:
    """Forget a unit: every row of it that was captured of an endpoint, with its labels.

    The compactor does it within seconds; rows of segments that gateways still write go within the hour. Rows that name
    the unit in their inputs alone are not found, samples of baselines keep what they have, and so do your backups.
    """
    app.confirm(f"Delete every captured row of {key!r} of {endpoint}?", yes=yes)
    found = app.client().capture.forget(endpoint, key)
    app.emit(found, lambda: f"the rows of {key!r} of {endpoint} go within seconds, those still written within the hour")


def _said(found: CaptureSettings, *, selective: bool) -> str:
    retain = span(found.retain_s) if found.retain_s else "as long as the platform's settings say"
    at_most = size(found.retain_bytes) if found.retain_bytes else "as the platform's settings say"
    lines = {
        "requests recorded": f"{found.sample:.4g} of all",
        "columns left out": ", ".join(found.drop) or "none",
        "columns hashed": ", ".join(found.hash) or "none",
        "keys of units": "hashed" if found.hash_keys else "as they are",
        "labels": "selective: monitors average none" if selective else "of all rows",
        "kept": retain,
        "at most": at_most,
    }
    return "\n".join(f"{name:<18}{value}" for name, value in lines.items())


def _columns(given: tuple[str, ...]) -> list[str] | None:
    return [name for name in given if name] if given else None


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,12})([kmgt]?)i?b?", text.strip().lower())
    if found is None:
        raise InvalidArgument(f"--retain-bytes {text!r} is no size: give one like 500m or 10g", field="retain-bytes")
    return int(found[1]) * UNITS[found[2]]
