"""Targets that are no socket of this host: a port with a key, TLS, and pools; a real replica stands behind each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.gateway_bed import Bed, Gateway, Replica, Reply
from support.tls import Authority, Terminator
from support.wait import until
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Target

CREDENTIAL = "sums-3"


class Ground:
    """A gateway, a replica with a key on a port, and terminators of TLS before it."""

    def __init__(self, folder: Path) -> None:
        self.bed = Bed(folder / "data")
        self.authority = Authority(folder / "authority")
        self.replica: Replica = self.bed.replica_with_key("3", CREDENTIAL)
        self.gateway: Gateway = self.bed.gateway()
        self.terminators: list[Terminator] = []

    def terminator(self, name: str = "127.0.0.1", *, days: int = 1) -> Terminator:
        made = Terminator(self.authority.issue(name, days=days), self.port)
        self.terminators.append(made)
        return made

    @property
    def port(self) -> int:
        """The replica's own, which speaks no TLS."""
        return int(self.replica.target.address.rpartition(":")[2])

    def url(self, terminator: Terminator, **more: object) -> Target:
        """A target behind this one, which is trusted."""
        target = Target("r-url", f"https://127.0.0.1:{terminator.port}", "", CREDENTIAL, str(self.authority.ca_file))
        return replace(target, **more)

    def endpoint(self, name: str, target: Target) -> RoutedEndpoint:
        made = self.bed.endpoint({"3": 100}, name=name)
        return replace(made, variants=(replace(made.variants[0], targets=(target,)),))

    def ask_all(self, **targets: Target) -> dict[str, Reply]:
        """What an endpoint with each of these targets answers."""
        self.bed.publish_endpoints(*(self.endpoint(name, target) for name, target in targets.items()))
        return {name: self.gateway.ask([1, 2, 3], endpoint=name) for name in targets}

    def close(self) -> None:
        self.bed.close()
        for one in self.terminators:
            one.close()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("targets"))
    try:
        yield made
    finally:
        made.close()


def test_a_port_with_a_key_and_a_url_answer_as_a_socket_does(ground: Ground) -> None:
    terminator = ground.terminator()
    asked = ground.ask_all(port=ground.replica.target, url=ground.url(terminator))
    for reply in asked.values():
        assert (reply.status, reply.json["prediction"], reply.json["confidence"]) == (200, [18.0], 0.75)
    assert (terminator.open, terminator.accepted) == (1, 1)
    kept = (ground.bed.data_dir / "gateways" / "gateway-0.snapshot.json").read_text()
    assert CREDENTIAL in kept
    assert "authorization" not in kept.lower()
    assert "Bearer" not in kept


def test_a_key_that_is_refused_is_no_failure_of_the_model(ground: Ground) -> None:
    wrong = replace(ground.replica.target, credential="another")
    none = replace(ground.replica.target, credential="")
    for name, reply in ground.ask_all(wrong=wrong, none=none).items():
        assert (reply.status, reply.json["code"]) == (503, "no_ready_replica"), name
    log = ground.bed.log()
    assert "it refuses the key of 'another' (401)" in log
    assert "it asks for a key, and has none in the routing snapshot (401)" in log
    metrics = ground.gateway.request("GET", "/metrics").body.decode()
    assert _value(metrics, 'model_requests_total{code="503",endpoint="none"') == 1
    assert _value(metrics, 'model_requests_total{code="500",endpoint="none"') == 0
    assert _value(metrics, 'model_requests_total{code="500",endpoint="wrong"') == 0
    assert ground.ask_all(wrong=ground.replica.target)["wrong"].status == 200, "with the right key"


def test_a_batch_that_one_target_refuses_is_answered_by_another(ground: Ground) -> None:
    good = ground.replica.target
    both = ground.endpoint("both", good)
    targets = (replace(good, id="r-none", credential=""), good)
    ground.bed.publish_endpoints(replace(both, variants=(replace(both.variants[0], targets=targets),)))
    assert [ground.gateway.ask([1, 2, 3], endpoint="both").status for _ in range(6)] == [200] * 6
    assert "replica r-none is not used: it asks for a key" in ground.bed.log()


def test_who_cannot_be_trusted_gets_nothing_and_the_log_says_why(ground: Ground, tmp_path: Path) -> None:
    good, elsewhere, expired = ground.terminator(), ground.terminator("pool.example"), ground.terminator(days=-1)
    no_certificate = tmp_path / "empty.pem"
    no_certificate.write_text("nothing")
    targets = {
        "of-system": ground.url(good, ca_file=""),
        "other-name": ground.url(elsewhere),
        "expired": ground.url(expired),
        "no-file": ground.url(good, ca_file=str(tmp_path / "missing.pem")),
        "empty-file": ground.url(good, ca_file=str(no_certificate)),
        "no-tls": ground.url(good, address=f"https://127.0.0.1:{ground.port}"),
        "no-scheme": ground.url(good, address="pigeon:post"),
        "no-port": ground.url(good, address="tcp:127.0.0.1:70000"),
        "password": ground.url(good, address=f"https://user:secret@127.0.0.1:{good.port}"),
    }
    sayings = {
        "of-system": "127.0.0.1 shows is not trusted: unable to get local issuer certificate",
        "other-name": "127.0.0.1 shows is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'",
        "expired": "127.0.0.1 shows is not trusted: certificate has expired",
        "no-file": f"the CA file {tmp_path / 'missing.pem'} cannot be read: No such file or directory",
        "empty-file": f"the CA file {no_certificate} has no certificate in it",
        "no-tls": "127.0.0.1 does not speak TLS as it should",
        "no-scheme": "'pigeon:post' is no address of a replica: it begins with none of",
        "no-port": "'tcp:127.0.0.1:70000' is no address of a replica: its port is no number up to 65535",
        "password": f"'https://127.0.0.1:{good.port}' is no address of a replica: a URL of a replica has a host",
    }
    for name, target in targets.items():
        targets[name] = replace(target, id=f"r-{name}")
    for name, reply in ground.ask_all(**targets, port=ground.replica.target).items():
        assert reply.status == (200 if name == "port" else 503), name
    lines = ground.bed.log().splitlines()
    for name, saying in sayings.items():
        told = [line for line in lines if f"replica r-{name} " in line]
        assert len(told) == 1, f"{name} is told once: {told}"
        assert saying in told[0], name
    assert "secret" not in ground.bed.log()


def test_a_pool_takes_so_many_batches_at_once(ground: Ground) -> None:
    terminator = ground.terminator()
    pool = ground.endpoint("pool", ground.url(terminator, batches_max=3))
    pool = replace(pool, variants=(replace(pool.variants[0], batchable=False),))
    ground.bed.publish_endpoints(pool)
    until(lambda: terminator.open == 3, what="a connection for each batch")
    terminator.hold()
    replies: list[Reply] = []

    def ask() -> None:
        replies.append(ground.gateway.ask([1, 2, 3], endpoint="pool"))

    asking = [threading.Thread(target=ask) for _ in range(5)]
    for one in asking:
        one.start()
    until(lambda: _waiting(ground.gateway) == 2, what="two calls in the queue")
    assert terminator.waiting == 3
    terminator.let_go()
    for one in asking:
        one.join(30)
    assert [reply.status for reply in replies] == [200] * 5
    smaller = ground.endpoint("pool", ground.url(terminator, batches_max=2))
    ground.bed.publish_endpoints(replace(smaller, variants=(replace(smaller.variants[0], batchable=False),)))
    until(lambda: terminator.open == 2, what="one connection less")
    assert terminator.accepted == 3, "the others were kept"


def _waiting(gateway: Gateway) -> float:
    metrics = gateway.request("GET", "/metrics").body.decode()
    return _value(metrics, 'model_queue_rows{endpoint="pool"')


def _value(metrics: str, series: str) -> float:
    found = [line for line in metrics.splitlines() if line.startswith(series)]
    return sum(float(line.rpartition(" ")[2]) for line in found)
