"""A platform on Redis, through the command line and HTTP: kept answers, limits, and a Redis that dies under load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.models import Models
from support.platform import Platform
from support.services.redis import PASSWORD, RedisServer
from support.wait import until

pytestmark = pytest.mark.slow


def metric(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def gateways(here: Platform, name: str) -> float:
    return metric(httpx.get(f"{here.gateway_url}/metrics").text, name)


def control(here: Platform, name: str) -> float:
    return metric(here.api("GET", "/metrics").text, name)


def test_a_platform_on_redis(own_platform: Platform, own_redis: RedisServer, models: Models) -> None:
    here = own_platform
    here.env["REDIS_URL"] = own_redis.url
    here.gateways = 2
    here.start()
    row = models.rows[0].tolist()
    file = models.path("logistic.joblib")
    here.done("register", file, "--name", "churn", "--allow-pickle", "--no-accelerate")
    here.done("deploy", "churn", "--cache-ttl", "60", "--rate-limit", "1000000")
    here.done("deploy", "churn", "--endpoint", "strict", "--rate-limit", "0.01")

    told = here.cli("status", "churn").out
    assert "answers are kept for 60 s, a client may send 1e+06 requests a second" in told
    until(lambda: gateways(here, "tidegate_redis_connected") == 2, what="both gateways on Redis")
    until(lambda: control(here, "tidegate_push_connected") == 1, what="the control plane on Redis")
    first = here.predict("churn", row)
    until(lambda: here.predict("churn", row).headers.get("x-tidegate-cache") == "hit", what="an answer from Redis")
    again = here.predict("churn", row)
    assert [again.json()[name] for name in ("prediction", "confidence", "model_version")] == [
        first.json()[name] for name in ("prediction", "confidence", "model_version")
    ]
    assert gateways(here, "model_cache_hit_ratio") > 0

    # Each request is a connection of its own, so the kernel deals them out to both gateways. One is in the burst of all
    # gateways together; until they have told one another, each may give it away.
    until(lambda: here.predict("strict", row).status_code == 429, what="the limit at one gateway")
    until(lambda: all(here.predict("strict", row).status_code == 429 for _ in range(20)), what="the limit at both")
    refused = here.predict("strict", row)
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 200

    own_redis.kill()
    for _ in range(20):
        assert here.predict("churn", row).status_code == 200
    here.done("deploy", "churn", "--endpoint", "strict", "--rate-limit", "1000")  # which gateways hear of by polling
    until(lambda: all(here.predict("strict", row).status_code == 200 for _ in range(10)), what="the new limit")
    until(lambda: control(here, "tidegate_push_connected") == 0, what="the control plane's noticing")
    told = here.cli("status").out
    assert f"Redis at 127.0.0.1:{own_redis.port} is away: it does not answer (" in told
    assert "start it, or correct REDIS_URL" in told
    own_redis.start()
    until(lambda: gateways(here, "tidegate_redis_connected") == 2, what="both gateways on Redis again")
    until(lambda: control(here, "tidegate_push_connected") == 1, what="the control plane on Redis again")
    until(
        lambda: here.predict("churn", row).headers.get("x-tidegate-cache") == "hit", what="an answer from Redis again"
    )
    assert_quiet(here.data_dir)


def test_a_password_that_redis_refuses_is_said_and_everything_else_works(
    own_platform: Platform, redis_server: RedisServer, models: Models
) -> None:
    here = own_platform
    here.env["REDIS_URL"] = f"redis://:hush-wrong@127.0.0.1:{redis_server.port}/0"
    here.start()
    redis = until(lambda: _redis_if_away(here), what="the refusal")
    assert redis["reason"].startswith("it refuses user or password")
    assert redis["reason"].endswith("correct them in REDIS_URL")
    here.done("deploy", models.path("logistic.joblib"), "--name", "churn", "--allow-pickle", "--cache-ttl", "60")
    assert here.predict("churn", models.rows[0].tolist()).status_code == 200
    said = here.cli("status").out
    assert "limits are each gateway's own and no answers are kept" in said
    assert "hush-wrong" not in said + here.log()


def _redis_if_away(here: Platform) -> Any:
    redis = here.done("status")["redis"]
    return redis if redis["status"] == "unavailable" else None


def assert_quiet(data_dir: Path) -> None:
    """No traceback, and no password, in any log."""
    for log in (data_dir / "logs").rglob("*.log"):
        text = log.read_text()
        assert "Traceback" not in text, text
        assert PASSWORD not in text


def test_a_url_that_cannot_be_used_is_told_before_anything_starts(own_platform: Platform) -> None:
    own_platform.env["REDIS_URL"] = "redis://:hush@127.0.0.1:6379/0?no_such_option=1"
    ran = own_platform.up()
    assert ran.code == 1
    assert "REDIS_URL" in ran.said
    assert "hush" not in ran.said
    assert own_platform.processes() == []
