"""The dashboards of the whole platform: fleet and jobs. The fleet queries recorded series, so that it stays quick."""

from __future__ import annotations

from dashboards.spec import ENDPOINT, RATE, Board, Panel

FLEET = Board(
    "fleet",
    "Tidegate: fleet",
    "Every endpoint at a glance.",
    [],
    [
        Panel(
            "Requests",
            "Requests a second, all endpoints.",
            "reqps",
            [("sum(endpoint:model_requests:rate5m)", "")],
            "number",
            4,
        ),
        Panel(
            "Failing",
            "Share of requests answered with 500 or above.",
            "percentunit",
            [("sum(endpoint_version:model_request_errors:rate5m) / (sum(endpoint:model_requests:rate5m) > 0)", "")],
            "number",
            4,
        ),
        Panel(
            "Endpoints that fail",
            "Endpoints that answer nobody.",
            "none",
            [('sum(max by (endpoint) (tidegate_endpoint_status{status="failed"}))', "")],
            "number",
            4,
        ),
        Panel(
            "Gateways",
            "Gateway processes that are ready, as each control plane says of its own.",
            "none",
            [('sum(tidegate_gateways{status="ready"})', "")],
            "number",
            4,
        ),
        Panel(
            "Leads",
            "1: a control plane leads. 0: nothing is deployed or repaired.",
            "none",
            [("max(tidegate_lease_alive)", "")],
            "number",
            4,
        ),
        Panel(
            "Alerts",
            "Alerts of Tidegate that fire.",
            "none",
            [('count(ALERTS{alertname=~"Tidegate.*", alertstate="firing"}) or vector(0)', "")],
            "number",
            4,
        ),
        Panel("Requests", "By endpoint.", "reqps", [("endpoint:model_requests:rate5m", ENDPOINT)]),
        Panel(
            "Failing",
            "Share of an endpoint's requests answered with 500 or above.",
            "percentunit",
            [("endpoint:model_request_errors:ratio_rate5m", ENDPOINT)],
        ),
        Panel(
            "Latency, p99",
            "Of each endpoint's slowest version.",
            "s",
            [("max by (endpoint) (endpoint_version:model_request_duration_seconds:p99_rate5m)", ENDPOINT)],
        ),
        Panel(
            "Replicas ready",
            "Of each endpoint, and how many are wanted.",
            "none",
            [
                ("sum by (endpoint) (endpoint_version:tidegate_replicas_ready:max)", ENDPOINT),
                (
                    "sum by (endpoint) (max by (endpoint, version) (tidegate_replicas_desired))",
                    "{{endpoint}} wanted",
                ),
            ],
        ),
        Panel(
            "Queues",
            "How full the fullest queue of an endpoint is. At 100 % requests are answered 429.",
            "percentunit",
            [("max by (endpoint) (endpoint_version:model_queue_rows:ratio)", ENDPOINT)],
        ),
        Panel(
            "Replicas busy",
            "Part of the time that an endpoint's busiest version computes.",
            "percentunit",
            [("max by (endpoint) (endpoint_version:tidegate_replicas_busy:ratio_rate5m)", ENDPOINT)],
        ),
        Panel(
            "Rows",
            "Rows predicted a second, by endpoint.",
            "rowsps",
            [("sum by (endpoint) (endpoint_version:model_predictions:rate5m)", ENDPOINT)],
        ),
        Panel(
            "Capture journal",
            "Records a second: written, and lost for these reasons.",
            "ops",
            [
                (f"sum(rate(tidegate_journal_records_written_total{RATE}))", "written"),
                (f"sum by (reason) (rate(tidegate_journal_dropped_records_total{RATE}))", "dropped: {{reason}}"),
            ],
        ),
        Panel(
            "Requests held",
            "Bytes of request bodies in the gateways, and requests a second refused for want of room.",
            "bytes",
            [
                ("sum(tidegate_buffered_bytes)", "held"),
                (f"sum(rate(tidegate_buffered_refusals_total{RATE}))", "refused a second"),
            ],
        ),
    ],
)

JOBS = Board(
    "jobs",
    "Tidegate: jobs",
    "The heavy work: what waits, what runs, what failed.",
    [],
    [
        Panel(
            "Waiting or running",
            "Jobs that are not done, by kind.",
            "none",
            [
                (
                    'sum by (kind, state) (max by (kind, state) (tidegate_jobs{state=~"queued|running"}))',
                    "{{kind}} {{state}}",
                )
            ],
            "number",
        ),
        Panel(
            "Longest wait",
            "How long the oldest queued job has waited; 0 when none waits.",
            "s",
            [("max(tidegate_job_oldest_queued_seconds)", "oldest")],
            "number",
        ),
        Panel(
            "Since one failed",
            "Time since the last job of a kind that failed. Nothing: none of those kept did.",
            "s",
            [
                (
                    'time() - max by (kind) (tidegate_job_last_finished_timestamp_seconds{state="failed"})',
                    "{{kind}}",
                )
            ],
            "number",
        ),
        Panel(
            "Jobs by state",
            "Of those kept, all kinds.",
            "none",
            [("sum by (state) (max by (kind, state) (tidegate_jobs))", "{{state}}")],
        ),
        Panel(
            "Jobs by kind",
            "Of those kept, by state.",
            "none",
            [("max by (kind, state) (tidegate_jobs)", "{{kind}} {{state}}")],
        ),
        Panel(
            "How long they take",
            "Mean of those kept, by kind and how they ended.",
            "s",
            [("max by (kind, state) (tidegate_job_duration_mean_seconds)", "{{kind}} {{state}}")],
        ),
    ],
)
