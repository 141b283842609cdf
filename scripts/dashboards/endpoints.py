"""The dashboards of one endpoint, of one version, and of the variants among which an endpoint's traffic is split."""

from __future__ import annotations

from dashboards.spec import (
    CHOSEN,
    ONE,
    QUALITY_MEANING,
    RATE,
    ROUTED,
    VERSION,
    Board,
    Panel,
    errors,
    quality,
    quantiles,
)

ENDPOINT_BOARD = Board(
    "endpoint",
    "Tidegate: endpoint",
    "One endpoint by version: volume, errors, latency, saturation, quality.",
    [("endpoint", "tidegate_replicas_desired")],
    [
        Panel(
            "Requests",
            "A second, by version.",
            "reqps",
            [(f"sum by (version) (rate(model_requests_total{{{ROUTED}}}{RATE}))", VERSION)],
        ),
        Panel(
            "Answers",
            "Requests a second by status code, those refused before a version was chosen too.",
            "reqps",
            [(f"sum by (code) (rate(model_requests_total{{{ONE}}}{RATE}))", "{{code}}")],
        ),
        Panel(
            "Failing",
            "Share of a version's requests answered with 500 or above.",
            "percentunit",
            [(errors(ROUTED, "version"), VERSION)],
        ),
        Panel(
            "Latency",
            "Percentiles of the time to answer, by version.",
            "s",
            quantiles("model_request_duration_seconds", ONE, "version", VERSION),
        ),
        Panel(
            "Latency, all of it",
            "How many requests took how long.",
            "s",
            [(f"sum by (le) (increase(model_request_duration_seconds_bucket{{{ONE}}}{RATE}))", "{{le}}")],
            "heat map",
        ),
        Panel(
            "Waiting",
            "Mean time that an answered request waited for a replica.",
            "s",
            [
                (
                    f"sum by (version) (rate(model_queue_seconds_total{{{ONE}}}{RATE})) / "
                    f'(sum by (version) (rate(model_requests_total{{{ONE}, code="200"}}{RATE})) > 0)',
                    VERSION,
                )
            ],
        ),
        Panel(
            "Queue",
            "Rows that wait for a replica, and how many may before 429.",
            "none",
            [
                (f"sum by (version) (model_queue_rows{{{ONE}}})", VERSION),
                (f"sum by (version) (model_queue_rows_limit{{{ONE}}})", "limit, " + VERSION),
            ],
        ),
        Panel(
            "Replicas busy",
            "Part of the time that a version's replicas compute.",
            "percentunit",
            [
                (
                    f"sum by (version) (rate(model_compute_seconds_total{{{ONE}}}{RATE})) / "
                    f"(max by (version) (tidegate_replicas_ready{{{ONE}}}) > 0)",
                    VERSION,
                )
            ],
        ),
        Panel(
            "In progress",
            "Requests being answered.",
            "none",
            [(f"sum(model_requests_in_progress{{{ONE}}})", "requests")],
        ),
        Panel(
            "Traffic",
            "Percent by version, as it is routed.",
            "percent",
            [(f"max by (version) (tidegate_traffic_percent{{{ONE}}})", VERSION)],
        ),
        Panel(
            "Replicas",
            "Ready and wanted by version, and how many were started anew.",
            "none",
            [
                (f"max by (version) (tidegate_replicas_ready{{{ONE}}})", "ready, " + VERSION),
                (f"max by (version) (tidegate_replicas_desired{{{ONE}}})", "wanted, " + VERSION),
                (f"max by (version) (tidegate_replica_restarts{{{ONE}}})", "started anew, " + VERSION),
            ],
        ),
        Panel("Quality", QUALITY_MEANING, "none", [(quality(ONE), "{{of}}: {{metric}} of version {{version}}")]),
        Panel(
            "Drift",
            "The columns whose values moved furthest: the share of the rows that lie elsewhere than in the baseline.",
            "percentunit",
            [(f"max by (feature) (model_feature_drift{{{ONE}}})", "{{feature}}")],
        ),
    ],
)

VERSION_BOARD = Board(
    "version",
    "Tidegate: version",
    "One version of an endpoint: what it answers, how its batches come about, what it costs.",
    [("endpoint", "tidegate_replicas_desired"), ("version", 'tidegate_replicas_desired{endpoint="$endpoint"}')],
    [
        Panel(
            "Answers",
            "Requests a second by status code.",
            "reqps",
            [(f"sum by (code) (rate(model_requests_total{{{CHOSEN}}}{RATE}))", "{{code}}")],
        ),
        Panel(
            "Latency",
            "Percentiles of the time to answer.",
            "s",
            quantiles("model_request_duration_seconds", CHOSEN, "version", VERSION),
        ),
        Panel(
            "Failing",
            "Share of the requests answered with 500 or above.",
            "percentunit",
            [(errors(CHOSEN, "version"), VERSION)],
        ),
        Panel(
            "Rows",
            "Predicted a second.",
            "rowsps",
            [(f"sum by (version) (rate(model_predictions_total{{{CHOSEN}}}{RATE}))", VERSION)],
        ),
        Panel(
            "Rows in a batch",
            "Mean, and the most that a batch has now to keep to its latency objective.",
            "none",
            [
                (
                    f"sum by (version) (rate(model_batch_rows_sum{{{CHOSEN}}}{RATE})) / "
                    f"(sum by (version) (rate(model_batch_rows_count{{{CHOSEN}}}{RATE})) > 0)",
                    VERSION,
                ),
                (f"max by (version) (model_batch_rows_limit{{{CHOSEN}}})", "limit, " + VERSION),
            ],
        ),
        Panel(
            "Why batches were sent",
            "Batches a second by reason.",
            "ops",
            [(f"sum by (reason) (rate(model_batches_released_total{{{CHOSEN}}}{RATE}))", "{{reason}}")],
        ),
        Panel(
            "Time of a row",
            "What a replica computes a row in, on average.",
            "s",
            [
                (
                    f"sum by (version) (rate(model_compute_seconds_total{{{CHOSEN}}}{RATE})) / "
                    f"(sum by (version) (rate(model_predictions_total{{{CHOSEN}}}{RATE})) > 0)",
                    VERSION,
                )
            ],
        ),
        Panel(
            "Replicas",
            "Ready, wanted and busy.",
            "none",
            [
                (f"max by (version) (tidegate_replicas_ready{{{CHOSEN}}})", "ready, " + VERSION),
                (f"max by (version) (tidegate_replicas_desired{{{CHOSEN}}})", "wanted, " + VERSION),
                (f"sum by (version) (rate(model_compute_seconds_total{{{CHOSEN}}}{RATE}))", "busy, " + VERSION),
            ],
        ),
        Panel("Quality", QUALITY_MEANING, "none", [(quality(CHOSEN), "{{of}}: {{metric}} of version {{version}}")]),
    ],
)

EXPERIMENT = Board(
    "experiment",
    "Tidegate: experiment",
    "The variants among which an endpoint's traffic is split, side by side.",
    [("endpoint", "tidegate_replicas_desired")],
    [
        Panel(
            "Traffic asked for",
            "Percent by variant.",
            "percent",
            [(f"max by (variant) (tidegate_traffic_target_percent{{{ONE}}})", "variant {{variant}}")],
            "number",
        ),
        Panel(
            "Traffic routed",
            "Percent by variant.",
            "percent",
            [(f"max by (variant) (tidegate_traffic_percent{{{ONE}}})", "variant {{variant}}")],
            "number",
        ),
        Panel(
            "Traffic that came",
            "Share of the requests of the time shown, by variant.",
            "percentunit",
            [
                (
                    f"sum by (variant) (increase(model_requests_total{{{ROUTED}}}[$__range])) / on () group_left () "
                    f"(sum(increase(model_requests_total{{{ROUTED}}}[$__range])) > 0)",
                    "variant {{variant}}",
                )
            ],
            "number",
        ),
        Panel(
            "Requests",
            "A second, by variant.",
            "reqps",
            [(f"sum by (variant) (rate(model_requests_total{{{ROUTED}}}{RATE}))", "variant {{variant}}")],
        ),
        Panel(
            "Failing",
            "Share of a variant's requests answered with 500 or above.",
            "percentunit",
            [(errors(ROUTED, "variant"), "variant {{variant}}")],
        ),
        Panel(
            "Latency",
            "Percentiles of the time to answer, by variant.",
            "s",
            quantiles("model_variant_duration_seconds", ONE, "variant", "variant {{variant}}"),
        ),
        Panel(
            "Latency, mean",
            "Of the time shown, by variant.",
            "s",
            [
                (
                    f"sum by (variant) (increase(model_variant_duration_seconds_sum{{{ONE}}}[$__range])) / "
                    f"(sum by (variant) (increase(model_variant_duration_seconds_count{{{ONE}}}[$__range])) > 0)",
                    "variant {{variant}}",
                )
            ],
            "number",
        ),
        Panel(
            "Requests of the time shown",
            "By variant and status code.",
            "none",
            [
                (
                    f"sum by (variant, code) (increase(model_requests_total{{{ROUTED}}}[$__range]))",
                    "variant {{variant}}: {{code}}",
                )
            ],
            "number",
        ),
        Panel("Quality", QUALITY_MEANING, "none", [(quality(ONE), "{{of}}: {{metric}} of version {{version}}")]),
        Panel(
            "Guardrails",
            "Of what runs: what each found of the version tried, the bound that decides, and what it must keep.",
            "none",
            [
                (f"max by (variant, guardrail) (tidegate_guardrail_{figure}{{{ONE}}})", f"{{{{guardrail}}}} {word}")
                for figure, word in (("value", "of {{variant}}"), ("bound", "bound"), ("margin", "to keep"))
            ],
            width=16,
        ),
        Panel(
            "Decisions",
            "Experiments, canaries and guards that ended, by outcome.",
            "none",
            [(f"sum by (kind, outcome) (tidegate_rollouts_total{{{ONE}}})", "{{kind}}: {{outcome}}")],
            "number",
        ),
    ],
)
