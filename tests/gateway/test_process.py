from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from http.client import HTTPException
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from support.gateway_bed import TOKEN, Bed, Gateway, Load, stop_hard
from support.platform import clean_env
from support.wait import until
from tidegate.gateway.telemetry.counts import read_counts
from tidegate.wire.journal import list_segments


def run_gateway(bed: Bed, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tidegate.gateway", "--data-dir", str(bed.data_dir), *options]
    return subprocess.run(argv, env=clean_env(**env), capture_output=True, text=True, timeout=30, check=False)


def test_a_port_in_use_is_one_clear_line_and_exit_code_1(bed: Bed) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for more in ([], ["--reuse-port"]):
            ran = run_gateway(bed, "--port", str(port), *more)
            assert ran.returncode == 1
            assert len(ran.stderr.splitlines()) == 1
            assert str(port) in ran.stderr
            assert "in use" in ran.stderr


def test_two_platforms_do_not_share_a_port(bed: Bed, tmp_path: Path, free_port: int) -> None:
    bed.gateway("--reuse-port", port=free_port)
    other = Bed(tmp_path / "other")
    try:
        ran = run_gateway(other, "--port", str(free_port), "--reuse-port")
        assert ran.returncode == 1
        assert "in use by another platform" in ran.stderr
    finally:
        other.close()


def test_gateways_that_start_together_share_a_port(bed: Bed, free_port: int) -> None:
    spawned = [bed.spawn_gateway("--reuse-port", id=f"gateway-{n}", port=free_port) for n in range(3)]
    bed.gateways += spawned
    for gateway in spawned:
        until(gateway.healthy, what=f"{gateway.id}")
    bed.publish_endpoints()  # waits for all three
    assert [gateway.process.poll() for gateway in spawned] == [None, None, None]


def test_off_loopback_without_a_key_it_refuses_to_start(bed: Bed, free_port: int) -> None:
    ran = run_gateway(bed, "--host", "0.0.0.0", "--port", str(free_port))
    assert ran.returncode == 2
    assert "TIDEGATE_API_KEY" in ran.stderr


def test_off_loopback_predictions_need_the_key(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway("--host", "0.0.0.0", TIDEGATE_API_KEY="sesame")
    bed.publish({"1": 100})
    assert gateway.ask([1, 2, 3]).status == 401
    assert gateway.ask([1, 2, 3], headers={"Authorization": "Bearer wrong"}).status == 401
    assert gateway.ask([1, 2, 3], headers={"Authorization": "Bearer sesame"}).status == 200
    assert gateway.request("GET", "/metrics").status == 401
    assert gateway.request("GET", "/health").status == 200


def test_it_shows_the_control_plane_the_node_key_and_the_token_where_there_is_none(bed: Bed, tmp_path: Path) -> None:
    bed.gateway(id="gateway-0")
    bed.publish_endpoints()  # taken with the token, as beside a control plane of a release before
    (bed.data_dir / "node.key").write_text(TOKEN)
    (bed.data_dir / "token").write_text("administers, and is no business of gateways")
    bed.gateway(id="gateway-1")
    bed.publish_endpoints()
    (bed.data_dir / "node.key").unlink()
    bed.gateway(id="gateway-2", TIDEGATE_NODE_KEY=TOKEN)
    until(lambda: bed.publisher.acknowledged.get("gateway-2") == bed.revision, what="the snapshot")


def test_the_key_of_metrics_reads_metrics_and_nothing_else(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway("--host", "0.0.0.0", TIDEGATE_API_KEY="sesame")
    snapshot = bed.snapshot_of(bed.endpoint({"1": 100}))
    bed.revision += 1
    hashes = (hashlib.sha256(b"watcher").hexdigest(),)
    bed.publisher.publish(replace(snapshot, revision=bed.revision, metrics_key_hashes=hashes))
    bed.wait_until_in_force()
    watcher = {"Authorization": "Bearer watcher"}
    assert gateway.request("GET", "/metrics", headers=watcher).status == 200
    assert gateway.request("GET", "/v2", headers=watcher).status == 401
    assert gateway.ask([1, 2, 3], headers=watcher).status == 401
    assert gateway.request("GET", "/metrics", headers={"Authorization": "Bearer sesame"}).status == 200
    assert gateway.request("GET", "/metrics").status == 401


def test_sigterm_answers_what_is_in_flight_and_ends_with_0(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.append(gateway.ask([111, 1.0, 0]).status))
    asking.start()
    busy = b'model_requests_in_progress{endpoint="sums"} 1.0'
    until(lambda: busy in gateway.request("GET", "/metrics").body, what="the slow request")
    gateway.process.terminate()
    asking.join(10)
    assert statuses == [200]
    assert gateway.process.wait(10) == 0
    assert not (bed.run_dir / "gateway-0.sock").exists()


def test_sigterm_does_not_wait_for_ever(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway(TIDEGATE_DRAIN_S="1")
    bed.publish({"1": 100})

    def ask_in_vain() -> None:
        with pytest.raises((OSError, HTTPException)):
            gateway.ask([111, 6.0, 0])

    asking = threading.Thread(target=ask_in_vain)
    asking.start()
    busy = b'model_requests_in_progress{endpoint="sums"} 1.0'
    until(lambda: busy in gateway.request("GET", "/metrics").body, what="the slow request")
    gateway.process.terminate()
    assert gateway.process.wait(10) == 0  # and the slow request got no answer, so that nobody waited for its end
    asking.join(10)


def counted(gateway: Gateway, name: str) -> float:
    text = gateway.request("GET", "/metrics").body.decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def test_metrics_on_any_gateway_are_the_sum_over_all(bed: Bed, free_port: int) -> None:
    bed.replica("1")
    pair = [bed.gateway("--reuse-port", id=f"gateway-{n}", port=free_port) for n in range(2)]
    bed.publish({"1": 100})
    for _ in range(60):  # the kernel spreads connections over the two
        assert pair[0].ask([1, 2, 3]).status == 200
    # Each scrape is a new connection, so it lands on either.
    assert {counted(pair[0], "model_requests_total") for _ in range(20)} == {60.0}
    assert counted(pair[0], "model_predictions_total") == 60.0
    assert counted(pair[0], "model_request_duration_seconds_count") == 60.0
    assert counted(pair[0], "tidegate_journal_records_written_total") == 60.0
    writers = {segment.writer for segment in list_segments(bed.data_dir / "journal")}
    assert writers == {"gateway-0", "gateway-1"}  # both took part


def test_a_sibling_that_died_keeps_its_counts(bed: Bed, free_port: int) -> None:
    bed.replica("1")
    pair = [bed.gateway("--reuse-port", id=f"gateway-{n}", port=free_port) for n in range(2)]
    bed.publish({"1": 100})
    for _ in range(40):
        pair[0].ask([1, 2, 3])
    assert {counted(pair[0], "model_requests_total") for _ in range(20)} == {40.0}
    stop_hard(pair[1].process)
    assert counted(pair[0], "model_requests_total") == 40.0


def test_counts_never_go_back_over_kill_9_and_restarts(bed: Bed, free_port: int) -> None:
    bed.replica("1")
    names = ["model_requests_total", "model_request_duration_seconds_count", "tidegate_journal_records_written_total"]
    pair = [bed.gateway("--reuse-port", id=f"gateway-{n}", port=free_port) for n in range(2)]
    bed.publish({"1": 100})
    asked, before = 0, 0.0
    for _ in range(2):
        for _ in range(20):
            asked += pair[0].ask([1, 2, 3]).status == 200
        assert [counted(pair[0], name) for name in names] == [asked] * 3
        stop_hard(pair[1].process)
        assert [counted(pair[0], name) for name in names] == [asked] * 3
        pair[1] = bed.gateway("--reuse-port", id="gateway-1", port=free_port)
        bed.wait_until_in_force()
        for _ in range(10):  # by either of them
            assert [counted(pair[0], name) for name in names] == [asked] * 3
    with Load(pair[0]) as load:
        while load.total < 1000:
            now = counted(pair[0], names[0])
            assert now >= before
            before = now
        os.kill(pair[1].process.pid, signal.SIGTERM)
        pair[1].process.wait(10)
    assert before <= counted(pair[0], names[0])
    assert counted(pair[0], "model_requests_in_progress") == 0


def test_counts_outlive_the_whole_platform_and_a_gateway_that_is_there_no_more(bed: Bed) -> None:
    bed.replica("1")
    asked = 0
    for id_ in ("gateway-1", "gateway-0"):  # one after the other: the first never comes back
        gateway = bed.gateway(id=id_)
        bed.publish({"1": 100})
        asked += [gateway.ask([1, 2, 3]).status for _ in range(7)].count(200)
        gateway.process.terminate()
        gateway.process.wait(10)
    assert asked == 14
    assert counted(bed.gateway(), "model_requests_total") == 14


def test_kill_9_loses_no_more_than_the_last_second(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    for _ in range(30):
        assert gateway.ask([1, 2, 3]).status == 200
    path = bed.data_dir / "gateways" / "gateway-0.counts"

    def kept() -> int:
        state = read_counts(path)
        return 0 if state is None else sum(sum(one.codes.values()) for one in state.series.values())

    until(lambda: kept() == 30, what="the counts on disk, with no scrape")
    stop_hard(gateway.process)
    again = bed.gateway()
    assert counted(again, "model_requests_total") == 30
    path.write_bytes(b"no counts")
    stop_hard(again.process)
    assert counted(bed.gateway(), "model_requests_total") == 0
    assert "counts" in bed.log()


def test_the_private_socket_is_private(bed: Bed) -> None:
    bed.gateway()
    assert stat.S_IMODE((bed.run_dir / "gateway-0.sock").stat().st_mode) == 0o600


def test_the_metrics_name_requests_by_version_and_code(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        assert client.post("/predict/sums", json={"features": [1, 2, 3]}).status_code == 200
        assert client.post("/predict/sums", json={"features": [1, 2]}).status_code == 422
        text = client.get("/metrics").text
    assert 'model_requests_total{code="200",endpoint="sums",variant="1",version="1"} 1.0' in text
    assert 'code="422",endpoint="sums"' in text
