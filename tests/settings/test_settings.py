"""What a process can be told from outside: numbers within their ranges, and a folder for sockets that stays put."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tidegate.errors import InvalidArgument
from tidegate.settings import Settings
from tidegate.system.child_env import inherited_env
from tidegate.system.run_dir import run_dir


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEGATE_BATCH_ROWS_MAX", "0"),
        ("TIDEGATE_QUEUE_ROWS_MAX", "-1"),
        ("TIDEGATE_REQUEST_TIMEOUT_S", "nan"),
        ("TIDEGATE_DRAIN_S", "inf"),
        ("TIDEGATE_JOB_WORKERS", "100000"),
        ("TARGET_CPU_UTILIZATION", "0"),
        ("MAX_REPLICAS", "0"),
    ],
)
def test_a_number_out_of_its_range_is_told_with_variable_value_and_range(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"{name}=.*must be from .* to ") as caught:
        Settings.from_env({name: value})
    assert caught.value.details["field"] == name


def test_a_request_of_the_largest_size_fits_where_all_requests_have_to() -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_BUFFERED_BYTES_MAX=1000 is less than") as caught:
        Settings.from_env({"TIDEGATE_BUFFERED_BYTES_MAX": "1000", "TIDEGATE_REQUEST_BYTES_MAX": "2000"})
    assert caught.value.details["field"] == "TIDEGATE_BUFFERED_BYTES_MAX"
    larger = Settings.from_env({"TIDEGATE_REQUEST_BYTES_MAX": str(1 << 30)})
    assert larger.buffered_bytes_max == 1 << 30


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("REDIS_URL", "http://:hush@h", "redis:// or rediss:// or unix:// with a host, such as redis://"),
        ("CELERY_BROKER_URL", "amqp://user:hush@host:port", "amqp:// or amqps:// with a host"),
        ("CELERY_BROKER_URL", "redis://:hush@h/0", "amqp:// or amqps:// with a host"),
        ("MLFLOW_S3_ENDPOINT_URL", "s3:9000/hush", "http:// or https:// with a host, such as http://host:9000"),
        ("PROMETHEUS_URL", "http://", "http:// or https:// with a host"),
        ("GRAFANA_URL", "https://[hush", "http:// or https:// with a host"),
    ],
)
def test_an_address_of_another_kind_is_told_with_an_example_and_never_repeated(
    name: str, value: str, told: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(told)) as caught:
        Settings.from_env({name: value})
    assert caught.value.details["field"] == name
    assert "hush" not in caught.value.message


def test_the_names_of_the_parts_are_read() -> None:
    env = {
        "REDIS_URL": "unix:///run/redis.sock",
        "CELERY_BROKER_URL": "amqps://u:p@h//",
        "MLFLOW_S3_ENDPOINT_URL": "http://s3:8333",
        "PROMETHEUS_URL": "https://prometheus/",
        "GRAFANA_URL": "http://admin:pw@[::1]:3000",
        "KUBECONFIG_PATH": "/etc/kube/config",
        "NAMESPACE": "models",
        "MIN_REPLICAS": "2",
        "MAX_REPLICAS": "4",
        "TARGET_CPU_UTILIZATION": "55",
    }
    read = Settings.from_env(env)
    named = {item.metadata["env"]: str(getattr(read, item.name)) for item in fields(Settings)}
    assert {name: named[name] for name in env} == env
    with pytest.raises(InvalidArgument, match="MIN_REPLICAS=5 is more than MAX_REPLICAS=4"):
        Settings.from_env({**env, "MIN_REPLICAS": "5"})
    with pytest.raises(InvalidArgument, match="NAMESPACE='Models' is no Kubernetes namespace"):
        Settings.from_env({**env, "NAMESPACE": "Models"})


def test_no_address_that_may_hold_a_password_reaches_a_models_process() -> None:
    holding = [item.metadata["env"] for item in fields(Settings) if "schemes" in item.metadata]
    assert {"REDIS_URL", "CELERY_BROKER_URL", "GRAFANA_URL"} <= set(holding)
    others = ["DATABASE_URL", "MLFLOW_TRACKING_URI", "KUBECONFIG_PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    assert inherited_env({**dict.fromkeys([*holding, *others], "hush"), "NAMESPACE": "models"}) == {
        "NAMESPACE": "models"
    }


def test_the_folder_for_sockets_is_the_same_for_every_tmpdir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = Path("/", *["deep"] * 30)
    folder = run_dir(deep)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert run_dir(deep) == folder


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"TIDEGATE_CAPTURE_URL": "gs://bucket/x"}, "must be s3:// with a bucket, such as s3://bucket/prefix"),
        ({"TIDEGATE_CAPTURE_URL": "s3://"}, "must be s3:// with a bucket"),
        ({"TIDEGATE_CAPTURE_URL": "s3://key:hush@bucket/x"}, "keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"TIDEGATE_CAPTURE_URL": "s3://bucket//x"}, "an empty folder"),
        ({"TIDEGATE_CAPTURE_URL": "s3://minio:9000/bucket"}, "the server is TIDEGATE_CAPTURE_S3_ENDPOINT_URL"),
        ({"TIDEGATE_CAPTURE_S3_ENDPOINT_URL": "http://minio:9000"}, "name the bucket too"),
        (
            {"TIDEGATE_CAPTURE_URL": "s3://b", "TIDEGATE_CAPTURE_S3_ENDPOINT_URL": "http://minio:9000/b"},
            "a server alone, such as http://host:9000, without a path",
        ),
    ],
)
def test_what_is_no_bucket_for_captured_rows_is_refused_at_start(env: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Settings.from_env(env)
    assert said in caught.value.message
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(("text", "on"), [("1", True), ("on", True), ("0", False), ("False", False), ("no", False)])
def test_a_flag_is_on_or_off(text: str, on: bool) -> None:
    assert Settings.from_env({"TIDEGATE_PROMOTION_ALIASES": text}).promotion_aliases is on


def test_a_flag_of_another_text_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_PROMOTION_ALIASES='maybe' is neither on nor off"):
        Settings.from_env({"TIDEGATE_PROMOTION_ALIASES": "maybe"})
