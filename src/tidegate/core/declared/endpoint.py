"""What a document says of an endpoint: every field, declared once. Pure.

`services.declared` makes an endpoint so, and writes down what one is; `scripts/generate_docs.py` publishes the schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from tidegate.core.alerting.model import LABELS, TYPES, Rule
from tidegate.core.declared.fields import Entries, Field, Section
from tidegate.core.declared.kinds import (
    Amount,
    FieldKind,
    Flag,
    Listed,
    Number,
    Size,
    Span,
    Text,
    VersionNumber,
    Weights,
    Whole,
)
from tidegate.core.declared.steps import EXAMPLE, Steps, default_steps
from tidegate.core.endpoints.serving import SERVING_SETTINGS, ServingSetting
from tidegate.core.engines.capabilities import ENGINE, ENGINES, TIDEGATE
from tidegate.core.experiments.grammar import GUARDRAIL_EXAMPLE, METRIC_EXAMPLE
from tidegate.core.monitoring.settings import MonitorSettings
from tidegate.core.names import check_name
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.experiments import OnBreach, OnNoTraffic

SCHEMA_FILE = "tidegate.schema.json"
DNS_LABEL = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
TRAFFIC = ("version", "traffic", "follow")
REPLICAS = ("replicas", "scaling")
SECTIONS = ("placement", "serving", "capture", "monitor", "alerts", "experiment", "canary", "shadow")
_MONITOR, _RULE = MonitorSettings(), Rule()


def _serving(one: ServingSetting) -> Field:
    in_time = one.name.endswith("_s") and not one.name.endswith("_per_s")
    kind: FieldKind = Span(zero="unset") if in_time else Number(0, one.high)
    return Field(one.option.removeprefix("--").replace("-", "_"), kind, one.help, 0.0, one.name)


SCALING = Section(
    (
        Field("min", Whole(0, 10_000), "Replicas of each version, at least; 0 lets it sleep (with idle)."),
        Field("max", Whole(1, 10_000), "Replicas of each version, at most."),
        Field("target", Text("concurrency=4"), "What each replica should have: concurrency=X, rps=X or cpu=X."),
        Field("stable", Span(), "Load is looked at over so long [60s].", 60.0, "stable_s"),
        Field("panic", Span(), "In a rush, over so long [6s].", 6.0, "panic_s"),
        Field("down", Span(), "A fleet shrinks to what it needed within so long [5m].", 300.0, "down_s"),
        Field("idle", Span(), "With min 0: sleep after so long without a request.", None, "idle_s"),
        Field("autoscaler", Text(choices=(TIDEGATE, ENGINE)), "Who counts the replicas [tidegate].", TIDEGATE),
    ),
    "Replicas that follow the load.",
    required=("min", "max", "target"),
)
PLACEMENT = Section(
    (
        Field("backend", Text(choices=tuple(ENGINES)), "Where its replicas run [as the platform's setting says]."),
        Field("cpus", Number(0, 1024), "Processors of each container, also 0.5 [as the setting says]."),
        Field("memory", Size(), "Memory of each container: 512m, 2g [as the setting says].", None, "memory_bytes"),
        Field("cpu_request", Number(0, 1024), "Processors kept free for each on Kubernetes [cpus, else 0.25]."),
        Field(
            "memory_request",
            Size(),
            "Memory kept free for each on Kubernetes [memory, else 512m].",
            None,
            "memory_request_bytes",
        ),
    ),
    "The engine, and limits of each replica.",
)
SERVING = Section(tuple(_serving(one) for one in SERVING_SETTINGS), "How it answers.")
CAPTURE = Section(
    (
        Field("sample", Number(0, 1), "The share of the requests that is recorded [1].", 1.0),
        Field("drop", Listed(Text("COLUMN"), "a list of columns"), "Columns that are not recorded.", []),
        Field("hash", Listed(Text("COLUMN"), "a list of columns"), "Columns of which a keyed hash is.", []),
        Field("hash_keys", Flag(), "Record a keyed hash of units' keys too [false].", False),
        Field("retain", Span("unset"), "Keep rows so long [as the platform's setting says].", 0.0, "retain_s"),
        Field("retain_bytes", Size(), "Keep so many bytes [as the platform's setting says].", 0),
    ),
    "What is recorded of its predictions, and for how long.",
)
MONITOR = Section(
    (
        Field("on", Flag(), "Whether it is monitored [true].", _MONITOR.on),
        Field("every", Span(), "How often [5m].", _MONITOR.every_s, "every_s"),
        Field("window", Span(), "Over how long a time traffic, errors and latency are [1h].", 3600.0, "window_s"),
        Field("label_delay", Span(), "How late labels come [0s].", _MONITOR.label_delay_s, "label_delay_s"),
        Field("block", Span(), "Judge rows in blocks of so long [as the baseline says].", None, "block_s"),
        Field("by", Text("COLUMN"), "Also by the values of this column."),
        Field("timezone", Text("Europe/Berlin"), "Whose hours and weekdays count [UTC].", _MONITOR.timezone),
        Field("selective_labels", Flag(), "Labels come for a choice of the rows alone [false].", False),
    ),
    "How it is monitored.",
)
ALERTS = Entries(
    TYPES,
    Section(
        (
            Field("enabled", Flag(), "Whether such alerts are raised [true].", _RULE.enabled),
            Field("for", Span(), "Fire after results alerted so long [0s].", _RULE.for_s, "for_s"),
            Field("keep_firing_for", Span(), "End after they were good so long [15m].", 900.0, "keep_firing_for_s"),
            Field("repeat_interval", Span(), "Tell of what still fires so often [1d].", 86_400.0, "repeat_interval_s"),
            Field("group_by", Listed(Text(choices=LABELS)), "Alerts that are one message.", [*_RULE.group_by]),
            Field("threshold", Number(), "Below it nothing alerts [none]."),
            Field("actions", Listed(Text("rollback")), "Done when one fires: rollback, webhook=URL.", []),
            Field("cooldown", Span(), "Take each action at most so often [1h].", _RULE.cooldown_s, "cooldown_s"),
            Field("end_automation", Flag(), "A rollback may end a canary or experiment [false].", False),
        ),
    ),
)
EXPERIMENT = Section(
    (
        Field(
            "name", Text("checkout", pattern=DNS_LABEL), "Its name on the endpoint: another one is another experiment."
        ),
        Field("control", VersionNumber(), "The version that has the traffic."),
        Field("treatments", Listed(VersionNumber(), "a list of versions"), "The versions that are compared with it."),
        Field("split", Listed(Number(0, 100)), "Percent of each arm, control's first [equal].", []),
        Field("metrics", Listed(Text(METRIC_EXAMPLE)), f"What is to become better: {METRIC_EXAMPLE}."),
        Field("guardrails", Listed(Text(GUARDRAIL_EXAMPLE)), f"What may not get worse: {GUARDRAIL_EXAMPLE}.", []),
        Field(
            "mde", Amount(), "The smallest effect worth finding, of control's value; abs:X is an amount [0.05].", "0.05"
        ),
        Field("alpha", Number(0, 0.5), "The rate of wrong decisions [0.05].", 0.05),
        Field("max_days", Number(0, 365), "It ends without a result after so long [30, or as rows are kept]."),
        Field("auto", Flag(), "Promote without asking; a breach is rolled back anyhow [false].", False),
        Field("on_breach", Text(choices=get_args(OnBreach)), "Where a guardrail is breached [rollback].", "rollback"),
        Field("on_no_traffic", Text(choices=get_args(OnNoTraffic)), "Where nobody comes [hold].", "hold"),
        Field("ramp", Listed(Number(0, 100)), "Percent of units that take part, step by step [100].", []),
        Field("ramp_every", Span(), "Each step for so long [1d].", 86_400.0, "ramp_every_s"),
        Field("start", Flag(), "Start it, rather than leave it a draft [true].", True),
    ),
    "An experiment: two or more versions beside each other.",
    required=("name", "control", "treatments", "metrics"),
)
CANARY = Section(
    (
        Field("version", VersionNumber(), "The version that takes over, step by step."),
        Field("steps", Steps(), f"In Argo's words: {EXAMPLE}.", default_steps()),
    ),
    "A version that gets more of the traffic at each step, on evidence.",
    required=("version",),
)
SHADOW = Section(
    (
        Field("version", VersionNumber(alias=False), "A version without traffic."),
        Field("share", Number(0, 100), "Percent of the requests that it gets a copy of; 0: none [0].", 0.0),
    ),
    "A version whose answers are compared and thrown away; {} for none.",
)
ENDPOINT = Section(
    (
        Field("endpoint", Text("churn", pattern=DNS_LABEL), "The endpoint's name."),
        Field("model", Text("churn", pattern=DNS_LABEL), "The model that it serves."),
        Field("version", VersionNumber(), "The version that gets all of the traffic: a number, a label or @ALIAS."),
        Field("traffic", Weights(), "Percent of the traffic by version: adds up to 100."),
        Field("follow", Text("@champion", pattern="^@.+"), "Go on to each version that this alias is moved to."),
        Field("replicas", Whole(1, 10_000), "A fixed number of replicas of each version."),
        Field("scaling", SCALING, SCALING.doc),
        Field("placement", PLACEMENT, PLACEMENT.doc),
        Field("serving", SERVING, SERVING.doc),
        Field("capture", CAPTURE, CAPTURE.doc),
        Field("monitor", MONITOR, MONITOR.doc),
        Field("alerts", ALERTS, "Rules by type of alert: when results become alerts, and what is done."),
        Field("experiment", EXPERIMENT, EXPERIMENT.doc),
        Field("canary", CANARY, CANARY.doc),
        Field("shadow", SHADOW, SHADOW.doc),
    ),
    required=("endpoint",),
    whole=False,
)


def read_endpoint(raw: Any) -> dict[str, Any]:
    """What a document says, by the names that services use. Raises `InvalidArgument`, which names the path."""
    found = ENDPOINT.read(raw, "")
    check_name(found["endpoint"], "endpoint")
    for names in (TRAFFIC, REPLICAS):
        given = [name for name in names if name in found]
        if len(given) > 1:
            raise InvalidArgument(f"{' and '.join(given)} exclude each other: give one of them", field=given[1])
    return found


def written_endpoint(found: Mapping[str, Any]) -> dict[str, Any]:
    """A document that says so; sections that are as by default are left out."""
    text = ENDPOINT.written(found)
    return {name: value for name, value in text.items() if value != {} or name not in SECTIONS}


def path_of(name: str, sections: Sequence[str]) -> str:
    """The path of what services call `name` (`every_s`), where it is in one of these sections, or beside them; else "".

    >>> path_of("every_s", ["monitor"]), path_of("replicas", ["scaling"]), path_of("colour", ["monitor"])
    ('monitor.every', 'replicas', '')
    """
    by_name = {one.name: one for one in ENDPOINT.fields}
    for section in sections:
        kind = by_name[section].kind
        inner = kind.of if isinstance(kind, Entries) else kind
        for one in inner.fields if isinstance(inner, Section) else ():
            if one.known_as == name:
                return section if isinstance(kind, Entries) else f"{section}.{one.name}"
    return name if name in by_name else ""


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 7, which editors know best) of a document."""
    excluded = [
        {"not": {"required": [one, other]}}
        for names in (TRAFFIC, REPLICAS)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    ]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "An endpoint of Tidegate",
        "description": "What 'tidegate apply -f FILE.yaml' makes so, and 'tidegate export' writes.",
        **ENDPOINT.schema(),
        "allOf": excluded,
    }
