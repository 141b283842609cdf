"""Typed settings, read once when a process starts and handed down. The documentation table is generated from here.

No other module reads the environment (a subprocess's own hand-over variables aside).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tidegate.cloud_settings import CloudSettings
from tidegate.errors import InvalidArgument
from tidegate.setting_values import check_bucket, check_ranges, check_urls, parse
from tidegate.setting_values import setting as _setting

GATEWAY_PORT, CONTROL_PORT = 8000, 8800
AUDIT_ROWS_MAX = 100_000


def _url_setting(env: str, doc: str, example: str, *further_schemes: str) -> Any:
    """A server's address, unset by default; it begins as `example` does, or with one of the further schemes."""
    schemes = (urlsplit(example).scheme, *further_schemes)
    metadata = {"env": env, "doc": f"{doc}: {example}.", "allowed": None, "schemes": schemes, "example": example}
    return field(default=None, metadata=metadata)


@dataclass(frozen=True)
class Settings(CloudSettings):
    """Everything a process can be told from outside. `from_env` reads the names in the metadata."""

    data_dir: Path = _setting(Path("~/.tidegate"), "TIDEGATE_DATA_DIR", "Where the platform keeps its state.")
    url: str | None = _setting(None, "TIDEGATE_URL", "Control plane the CLI and SDK talk to.")
    api_key: str | None = _setting(
        None, "TIDEGATE_API_KEY", "Key of predictions, which clients of gateways send as 'Authorization: Bearer KEY'."
    )
    token: str | None = _setting(
        None,
        "TIDEGATE_TOKEN",
        "Key of administrators, which CLI and SDK send to the control plane; 'token' in the data directory when unset.",
    )
    node_key: str | None = _setting(
        None,
        "TIDEGATE_NODE_KEY",
        "Key that gateways show the control plane; 'node.key' in the data directory when unset.",
    )
    metrics_key: str | None = _setting(
        None,
        "TIDEGATE_METRICS_KEY",
        "Key with which Prometheus reads /metrics, and nothing else; 'metrics.key' in the data directory when unset.",
    )
    auth: str = _setting("key", "TIDEGATE_AUTH", "'none' serves off loopback without a key.")
    allowed_hosts: str = _setting(
        "", "TIDEGATE_ALLOWED_HOSTS", "Further Host names the control plane answers to, by comma."
    )
    mlflow_tracking_uri: str | None = _setting(None, "MLFLOW_TRACKING_URI", "MLflow server; embedded when unset.")
    promotion_aliases: bool = _setting(
        True,
        "TIDEGATE_PROMOTION_ALIASES",
        "Keep the aliases champion and challenger of a model in step with promotions of the endpoint of its name.",
    )
    registry_poll_s: float = _setting(5.0, "TIDEGATE_REGISTRY_POLL_S", "Seconds between looks at aliases.", (0.1, 3600))
    database_url: str | None = _setting(
        None,
        "DATABASE_URL",
        "Database of the state: postgresql://user:password@host/name; SQLite in the data directory when unset.",
    )
    redis_url: str | None = _url_setting("REDIS_URL", "Redis server", "redis://:password@host:6379/0", "rediss", "unix")
    redis_prefix: str = _setting("tidegate", "TIDEGATE_REDIS_PREFIX", "What every key in Redis begins with.")
    rate_limit_per_s: float = _setting(
        0.0,
        "TIDEGATE_RATE_LIMIT_PER_S",
        "Requests a second that each client may send to each endpoint, where the endpoint says nothing; 0 is no limit.",
        (0, 1_000_000),
    )
    rate_burst_s: float = _setting(
        1.0,
        "TIDEGATE_RATE_BURST_S",
        "What a client that was idle may send at once: what the limit allows in so many seconds, and at least one.",
        (0, 86_400),
    )
    celery_broker_url: str | None = _url_setting(
        "CELERY_BROKER_URL", "RabbitMQ server", "amqp://user:password@host:5672/vhost", "amqps"
    )
    mlflow_s3_endpoint_url: str | None = _url_setting(
        "MLFLOW_S3_ENDPOINT_URL",
        "S3 server of MLflow's artifacts, where it is not Amazon's; the keys are AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY",
        "http://host:9000",
        "https",
    )
    prometheus_url: str | None = _url_setting("PROMETHEUS_URL", "Prometheus server", "http://host:9090", "https")
    grafana_url: str | None = _url_setting("GRAFANA_URL", "Grafana server", "http://host:3000", "https")
    kubeconfig_path: Path | None = _setting(
        None,
        "KUBECONFIG_PATH",
        "File that says how to reach the Kubernetes cluster. Unset: the files of KUBECONFIG, else ~/.kube/config, else "
        "the service account of the pod.",
    )
    namespace: str | None = _setting(
        None, "NAMESPACE", "Kubernetes namespace of the replicas; the kubeconfig's, or 'default', when unset."
    )
    min_replicas: int = _setting(1, "MIN_REPLICAS", "Fewest replicas of a version without --min.", (0, 10_000))
    max_replicas: int = _setting(10, "MAX_REPLICAS", "Most replicas of a version without --max.", (1, 10_000))
    target_cpu_utilization: int = _setting(
        70, "TARGET_CPU_UTILIZATION", "Percent of a replica's CPU to aim at without --target.", (1, 100)
    )
    replicas_limit: int = _setting(
        100, "TIDEGATE_REPLICAS_LIMIT", "Most replicas of a version that anybody may ask for.", (1, 10_000)
    )
    files_dir: Path | None = _setting(
        None,
        "TIDEGATE_FILES_DIR",
        "Where models' files, environments and uploads are kept, shared by all control planes of a database; the data "
        "directory when unset.",
    )
    upload_bytes_max: int = _setting(8 << 30, "TIDEGATE_UPLOAD_BYTES_MAX", "Largest upload, in bytes.", (1, 1 << 50))
    request_bytes_max: int = _setting(
        64 << 20, "TIDEGATE_REQUEST_BYTES_MAX", "Largest prediction request body, in bytes.", (1, 1 << 40)
    )
    json_bytes_max: int = _setting(
        8 << 20, "TIDEGATE_JSON_BYTES_MAX", "Largest JSON part of a prediction request, in bytes.", (1, 1 << 40)
    )
    buffered_bytes_max: int = _setting(
        512 << 20,
        "TIDEGATE_BUFFERED_BYTES_MAX",
        "Request bodies a process holds at a time, in bytes, before 429; at least TIDEGATE_REQUEST_BYTES_MAX.",
        (1, 1 << 50),
    )
    request_timeout_s: float = _setting(
        30.0, "TIDEGATE_REQUEST_TIMEOUT_S", "Deadline of a prediction, in seconds.", (0.001, 86_400)
    )
    receive_timeout_s: float = _setting(
        10.0,
        "TIDEGATE_RECEIVE_TIMEOUT_S",
        "How long a client may take to send one request, in seconds.",
        (0.001, 86_400),
    )
    idle_timeout_s: float = _setting(
        300.0,
        "TIDEGATE_IDLE_TIMEOUT_S",
        "How long a connection without a request is kept open, in seconds.",
        (0.001, 2_592_000),
    )
    connections_max: int = _setting(
        8192,
        "TIDEGATE_CONNECTIONS_MAX",
        "Most connections of a process, for HTTP and for gRPC each; fewer where the limit of open files asks for it.",
        (1, 1_000_000),
    )
    batch_rows_max: int = _setting(1024, "TIDEGATE_BATCH_ROWS_MAX", "Most rows in one batch.", (1, 1_000_000))
    batch_latency_ms: float = _setting(
        10.0,
        "TIDEGATE_BATCH_LATENCY_MS",
        "How long a batch should take to compute, in milliseconds: rows a batch grow and shrink to keep to it.",
        (0.001, 60_000),
    )
    queue_rows_max: int = _setting(
        4096, "TIDEGATE_QUEUE_ROWS_MAX", "Most rows waiting per version before 429.", (1, 100_000_000)
    )
    waking_requests_max: int = _setting(
        256,
        "TIDEGATE_WAKING_REQUESTS_MAX",
        "Most requests that wait for a version to wake, in each gateway process, before 429.",
        (1, 1_000_000),
    )
    shadow_rows_max: int = _setting(
        4096,
        "TIDEGATE_SHADOW_ROWS_MAX",
        "Most rows that are with shadows at a time, in each gateway process; more are not copied.",
        (1, 100_000_000),
    )
    shadow_bytes_max: int = _setting(
        64 << 20,
        "TIDEGATE_SHADOW_BYTES_MAX",
        "Most bytes of rows that are with shadows at a time, in each gateway process; more are not copied.",
        (1, 1 << 50),
    )
    shadow_timeout_s: float = _setting(
        10.0,
        "TIDEGATE_SHADOW_TIMEOUT_S",
        "Deadline of a copy that goes to a shadow, in seconds; at most that of a prediction.",
        (0.001, 86_400),
    )
    journal_bytes_max: int = _setting(
        1 << 30,
        "TIDEGATE_JOURNAL_BYTES_MAX",
        "Capture journal kept per gateway, in bytes; 0 turns it off.",
        (0, 1 << 50),
    )
    journal_wait_ms_max: int = _setting(
        50, "TIDEGATE_JOURNAL_WAIT_MS_MAX", "Longest a journal write may stall, in milliseconds.", (0, 60_000)
    )
    capture_retain_s: float = _setting(
        2_592_000.0,
        "TIDEGATE_CAPTURE_RETAIN_S",
        "How long captured rows are kept, in seconds.",
        (3600, 315_360_000),
    )
    capture_bytes_max: int = _setting(
        10 << 30,
        "TIDEGATE_CAPTURE_BYTES_MAX",
        "Parquet of captured rows that is kept, in bytes; the oldest hours go.",
        (1 << 20, 1 << 50),
    )
    capture_url: str | None = _url_setting(
        "TIDEGATE_CAPTURE_URL",
        "Bucket of S3 that has the Parquet of captured rows, 'capture' in the data directory when unset; its keys are "
        "found as AWS's own tools find them",
        "s3://bucket/prefix",
    )
    capture_s3_endpoint_url: str | None = _url_setting(
        "TIDEGATE_CAPTURE_S3_ENDPOINT_URL",
        "S3 server of TIDEGATE_CAPTURE_URL, where it is not Amazon's",
        "http://host:9000",
        "https",
    )
    ready_timeout_s: float = _setting(
        120.0, "TIDEGATE_READY_TIMEOUT_S", "How long a replica may take to become ready, in seconds.", (0.001, 86_400)
    )
    keep_previous_s: float = _setting(
        600.0,
        "TIDEGATE_KEEP_PREVIOUS_S",
        "How long versions at weight 0 keep their replicas, in seconds.",
        (0, 31_536_000),
    )
    drain_s: float = _setting(
        5.0, "TIDEGATE_DRAIN_S", "How long a replica may finish what it has when it is stopped, in seconds.", (0, 3_600)
    )
    starts_max: int = _setting(2, "TIDEGATE_STARTS_MAX", "Replicas that may be loading at the same time.", (1, 1_000))
    load_samples_max: int = _setting(
        100_000,
        "TIDEGATE_LOAD_SAMPLES_MAX",
        "Samples of load kept over five minutes: each second one of each gateway, and one of each version it was busy "
        "with; the oldest go first.",
        (1, 100_000_000),
    )
    job_workers: int = _setting(
        2, "TIDEGATE_JOB_WORKERS", "Jobs that the control plane, or one worker, runs at the same time.", (1, 1_000)
    )
    job_queue: str = _setting("tidegate.jobs", "TIDEGATE_JOB_QUEUE", "Queue of jobs, one a platform of the broker.")
    job_lease_s: float = _setting(
        60.0,
        "TIDEGATE_JOB_LEASE_S",
        "How long a job stays with a worker that fell silent, in seconds, before another runs it.",
        (1, 86_400),
    )
    worker_stop_s: float = _setting(
        20.0,
        "TIDEGATE_WORKER_STOP_S",
        "How long a worker that is stopped goes on with jobs, in seconds.",
        (0, 86_400),
    )
    backend: str = _setting(
        "local",
        "TIDEGATE_BACKEND",
        "Where replicas run: local (processes of this machine), docker (its containers), kubernetes, ecs or cloudrun.",
    )
    docker_cpus: float = _setting(
        0.0,
        "TIDEGATE_DOCKER_CPUS",
        "Processors a container may use; 0 is no limit. 'deploy --cpus' takes precedence.",
        (0, 1024),
    )
    docker_memory_bytes: int = _setting(
        0,
        "TIDEGATE_DOCKER_MEMORY_BYTES",
        "Memory a container may use, in bytes; 0 is no limit. 'deploy --memory' takes precedence.",
        (0, 1 << 50),
    )
    docker_network: str = _setting(
        "none",
        "TIDEGATE_DOCKER_NETWORK",
        "Network of containers: none, bridge, or the name of one. Replicas need none.",
    )
    cloudrun_project: str | None = _setting(
        None, "TIDEGATE_CLOUDRUN_PROJECT", "Project of Google Cloud whose Cloud Run runs replicas: my-project."
    )
    cloudrun_region: str | None = _setting(
        None, "TIDEGATE_CLOUDRUN_REGION", "Region of Cloud Run that replicas run in: europe-west1."
    )
    cloudrun_service_account: str | None = _setting(
        None,
        "TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT",
        "Service account that replicas on Cloud Run run as; it needs no rights: replicas@my-project.iam.gserviceaccount"
        ".com.",
    )
    cloudrun_concurrency: int = _setting(
        4,
        "TIDEGATE_CLOUDRUN_CONCURRENCY",
        "Batches that one instance on Cloud Run is given at once; it computes one after the other.",
        (1, 250),
    )
    cloudrun_secrets: bool = _setting(
        False,
        "TIDEGATE_CLOUDRUN_SECRETS",
        "Keep the keys of replicas on Cloud Run in Secret Manager, and not in the environment of their revisions.",
    )
    image_base: str | None = _setting(
        None,
        "TIDEGATE_IMAGE_BASE",
        "Base image of 'tidegate build'; python:X.Y-slim, as the platform's Python, when unset.",
    )
    image_registry: str | None = _setting(
        None,
        "TIDEGATE_IMAGE_REGISTRY",
        "Where 'tidegate build --push' sends images, and where engines pull them: registry.example.com/team.",
    )
    image_pull_secret: str | None = _setting(
        None,
        "TIDEGATE_IMAGE_PULL_SECRET",
        "What images are pulled with: the name of a Secret of Kubernetes, or, for ECS, the ARN of a secret of AWS's.",
    )
    wheels_dir: Path | None = _setting(
        None, "TIDEGATE_WHEELS_DIR", "Where wheels for images are kept; 'wheels' in the data directory when unset."
    )
    wheels_bytes_max: int = _setting(
        20 << 30,
        "TIDEGATE_WHEELS_BYTES_MAX",
        "Wheels kept for images, in bytes; the least used go.",
        (0, 1 << 50),
    )
    audit_rows_max: int = _setting(
        AUDIT_ROWS_MAX, "TIDEGATE_AUDIT_ROWS_MAX", "Changes that the audit keeps; the oldest go.", (1000, 100_000_000)
    )
    monitor_results_max: int = _setting(
        200_000, "TIDEGATE_MONITOR_RESULTS_MAX", "Monitors' results that are kept; the oldest go.", (1000, 100_000_000)
    )
    guard_s: float = _setting(
        600.0,
        "TIDEGATE_GUARD_S",
        "For how many seconds a version is watched that was deployed; 0: not at all.",
        (0.0, 86_400.0),
    )
    notify_networks: str = _setting(
        "",
        "TIDEGATE_NOTIFY_NETWORKS",
        "Networks, by comma, where alerts may be sent beside public addresses: 10.0.0.0/8. Loopback is allowed while "
        "the control plane listens on loopback.",
    )
    log_level: str = _setting("info", "TIDEGATE_LOG_LEVEL", "debug, info, warning or error.")

    @property
    def files_home(self) -> Path:
        """Where versions, artifacts and environments lie."""
        return (self.files_dir or self.data_dir).absolute()

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Settings from `env` (default: the process's), with `overrides` that are not None on top.

        Raises `InvalidArgument` naming the variable whose value cannot be read or is out of its range.
        """
        env = os.environ if env is None else env
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = item.metadata["env"]
            if env.get(name):
                values[item.name] = parse(name, env[name], str(item.type))
        values |= {key: value for key, value in overrides.items() if value is not None}
        settings = cls(**values)
        check_ranges(settings)
        check_urls(settings)
        _check_cluster(settings)
        settings.check_clouds()
        check_bucket(settings.capture_url, settings.capture_s3_endpoint_url)
        if "buffered_bytes_max" not in values and settings.request_bytes_max > settings.buffered_bytes_max:
            settings = replace(settings, buffered_bytes_max=settings.request_bytes_max)
        _check_room(settings)
        return cls(**{**settings.__dict__, "data_dir": Path(settings.data_dir).expanduser().absolute()})


def _check_cluster(settings: Settings) -> None:
    if settings.min_replicas > settings.max_replicas:
        raise InvalidArgument(
            f"MIN_REPLICAS={settings.min_replicas} is more than MAX_REPLICAS={settings.max_replicas}: lower the one or "
            "raise the other",
            field="MIN_REPLICAS",
        )
    if settings.namespace is not None and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", settings.namespace):
        raise InvalidArgument(
            f"NAMESPACE={settings.namespace!r} is no Kubernetes namespace: small letters, digits and '-', at most 63",
            field="NAMESPACE",
        )


def _check_room(settings: Settings) -> None:
    """A request of the largest size has to fit where all requests have to."""
    if settings.buffered_bytes_max < settings.request_bytes_max:
        raise InvalidArgument(
            f"TIDEGATE_BUFFERED_BYTES_MAX={settings.buffered_bytes_max} is less than "
            f"TIDEGATE_REQUEST_BYTES_MAX={settings.request_bytes_max}: raise the one or lower the other",
            field="TIDEGATE_BUFFERED_BYTES_MAX",
        )
