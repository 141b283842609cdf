"""What the network and a busy server do to requests: repeated where that is safe, else said with what to do."""

from __future__ import annotations

import base64
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.kubernetes.cluster import TOKEN, FakeCluster
from support.tls import Authority
from support.wait import free_ports
from tidegate.adapters.kubernetes.api import KubernetesApi, connect
from tidegate.adapters.kubernetes.credentials import EXEC_VERSIONS
from tidegate.adapters.kubernetes.kinds import POD, SECRET
from tidegate.adapters.kubernetes.kubeconfig import find_access
from tidegate.adapters.kubernetes.refusals import Gone
from tidegate.adapters.kubernetes.transport import AWAY, RETRY_AFTER_S_MAX, ApiRequest, ApiTransport
from tidegate.errors import EngineDenied, EngineUnavailable, TidegateError

SECRET_BODY = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}}


class Timeless:
    """A transport whose waits are noted, and which has a clock of its own."""

    def __init__(self, config: Path) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.transport = ApiTransport(lambda: find_access(config, None, {}), lambda: self.now, self.waits.append)
        self.api = KubernetesApi(self.transport)


@pytest.fixture
def timeless(cluster: FakeCluster) -> Timeless:
    return Timeless(cluster.kubeconfig())


def test_a_busy_server_is_asked_again_when_it_says(cluster: FakeCluster, timeless: Timeless) -> None:
    cluster.network.throttled, cluster.network.retry_after_s = 2, 1
    timeless.api.apply(SECRET_BODY)  # 429: it was not worked on, so a write is sent again too
    assert timeless.waits == [1.0, 1.0]
    cluster.network.throttled, cluster.network.retry_after_s = 100, 3600
    with pytest.raises(EngineUnavailable, match="fails \\(429: Too many requests"):
        timeless.api.list(POD)
    assert timeless.waits[2:] == [RETRY_AFTER_S_MAX] * 3


def test_asking_again_keeps_the_connection(cluster: FakeCluster, timeless: Timeless) -> None:
    timeless.api.version()
    there = cluster.server.accepted
    cluster.network.failing = 3
    assert timeless.api.list(POD).items == []
    cluster.network.throttled = 1
    timeless.api.apply(SECRET_BODY)
    assert cluster.server.accepted == there


def test_reading_is_repeated_after_a_failure_and_writing_is_not(cluster: FakeCluster, timeless: Timeless) -> None:
    cluster.network.failing = 2
    assert timeless.api.list(POD).items == []
    cluster.network.failing = 1
    with pytest.raises(EngineUnavailable, match="fails \\(500: etcdserver: request timed out\\)"):
        timeless.api.apply(SECRET_BODY)


def test_an_answer_that_is_cut_is_unavailable(cluster: FakeCluster, timeless: Timeless) -> None:
    cluster.network.cut = 1
    with pytest.raises(EngineUnavailable, match="does not answer \\(connection cut\\)"):
        timeless.api.list(POD)
    timeless.now += AWAY.longest_s
    assert timeless.api.list(POD).items == []


def test_a_server_that_is_away_is_not_asked_each_time(cluster: FakeCluster, timeless: Timeless) -> None:
    timeless.api.version()
    with (
        cluster.away(),
        pytest.raises(EngineUnavailable, match=r"does not answer \(connection .*its address is from context 'fake'"),
    ):
        timeless.api.version()
    with pytest.raises(EngineUnavailable):  # it is back, and was only just away
        timeless.api.version()
    timeless.now += AWAY.longest_s
    assert timeless.api.version() == "v1.36.2"


def test_a_token_that_expired_is_asked_for_again_once(cluster: FakeCluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    cluster.network.tokens["new"] = "me"
    timeless = Timeless(cluster.kubeconfig(user={"tokenFile": str(file)}))
    with pytest.raises(EngineDenied, match=f"they may have expired: see that {file} has a token that is still valid"):
        timeless.api.version()
    timeless.now += AWAY.longest_s
    file.write_text(TOKEN)
    assert timeless.api.version() == "v1.36.2"
    del cluster.network.tokens[TOKEN]
    file.write_text("new")
    assert timeless.api.version() == "v1.36.2"


def test_a_login_that_fails_is_not_tried_for_each_request(cluster: FakeCluster, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    program = {"command": "/bin/sh", "args": ["-c", f"echo x >> {runs}; exit 1"], "apiVersion": EXEC_VERSIONS[0]}
    timeless = Timeless(cluster.kubeconfig(user={"exec": {**program, "interactiveMode": "Never"}}))
    for _ in range(5):
        with pytest.raises(EngineDenied, match="'/bin/sh' gave no credentials"):
            timeless.api.version()
    assert runs.read_text() == "x\n"
    timeless.now += AWAY.longest_s
    with pytest.raises(EngineDenied):
        timeless.api.version()
    assert runs.read_text() == "x\nx\n"


def test_a_kubeconfig_that_was_mended_is_read_again(cluster: FakeCluster) -> None:
    timeless = Timeless(cluster.kubeconfig(user={"token": "wrong"}))
    with pytest.raises(EngineDenied, match=r"does not take the credentials of context 'fake' .*renew the token"):
        timeless.api.version()
    cluster.kubeconfig()
    timeless.now += AWAY.longest_s
    assert timeless.api.version() == "v1.36.2"


def test_an_authority_that_is_no_certificate_is_read_again(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("not yet")
    right = cluster.kubeconfig().read_text()
    config = tmp_path / "config"
    config.write_text(right.replace(str(cluster.authority.ca_file), str(tmp_path / "ca")))
    timeless = Timeless(config)
    with pytest.raises(EngineDenied, match="is no certificate in PEM"):
        timeless.api.version()
    (tmp_path / "ca").write_bytes(cluster.authority.ca_file.read_bytes())
    timeless.now += AWAY.longest_s
    assert timeless.api.version() == "v1.36.2"


def test_an_authority_that_was_mended_is_trusted_from_then_on(cluster: FakeCluster, tmp_path: Path) -> None:
    stranger, config = Authority(tmp_path / "stranger"), cluster.kubeconfig()
    right = config.read_text()
    config.write_text(right.replace(str(cluster.authority.ca_file), str(stranger.ca_file)))
    timeless = Timeless(config)
    with pytest.raises(EngineDenied, match="correct certificate-authority"):
        timeless.api.version()
    config.write_text(right)
    timeless.now += AWAY.longest_s
    assert timeless.api.version() == "v1.36.2"


def test_a_token_and_an_authority_that_changed_together_count_together(cluster: FakeCluster, tmp_path: Path) -> None:
    """As when a cluster is made anew at the same address."""
    stranger = Authority(tmp_path / "stranger")
    right = cluster.kubeconfig(user={"token": "wrong"}).read_text()
    config = tmp_path / "config"
    config.write_text(right)
    timeless = Timeless(config)
    with pytest.raises(EngineDenied, match="renew the token"):
        timeless.api.version()
    config.write_text(right.replace(str(cluster.authority.ca_file), str(stranger.ca_file)))
    timeless.now += AWAY.longest_s
    with pytest.raises(EngineDenied, match="correct certificate-authority"):
        timeless.api.version()


def test_client_certificates_are_shown(cluster: FakeCluster, tmp_path: Path) -> None:
    pair = tmp_path / "pki"
    cert, key = client_certificate(cluster.authority, "a person")
    api = connect(cluster.kubeconfig(user={"client-certificate-data": cert, "client-key-data": key}), None, {})
    cluster.policies.rules = []
    with pytest.raises(EngineDenied, match="user 'a person' may not list pods"):
        api.list(POD)
    strange, strange_key = client_certificate(Authority(pair), "a stranger")
    api = connect(
        cluster.kubeconfig(user={"client-certificate-data": strange, "client-key-data": strange_key}), None, {}
    )
    with pytest.raises(EngineUnavailable):
        api.list(POD)
    api = connect(cluster.kubeconfig(user={"client-certificate-data": cert, "client-key-data": strange_key}), None, {})
    with pytest.raises(EngineDenied, match="do not belong together, or are no PEM"):
        api.list(POD)


def client_certificate(authority: Authority, name: str) -> tuple[str, str]:
    authority.issue(name)
    pem = (authority.ca_file.parent / f"{name}-1.pem").read_bytes()
    at = pem.index(b"-----BEGIN CERTIFICATE")
    return base64.b64encode(pem[at:]).decode(), base64.b64encode(pem[:at]).decode()


def test_what_is_wrong_with_a_certificate_is_said(cluster: FakeCluster, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    config = cluster.kubeconfig()
    text = config.read_text()
    for changed, told in {
        text.replace(str(cluster.authority.ca_file), str(stranger.ca_file)): "is of no authority that is trusted here",
        text.replace("127.0.0.1", "localhost"): "is for another name: correct the address, or set tls-server-name",
        text.replace("https://", "http://"): "does not answer",
    }.items():
        config.write_text(changed)
        with pytest.raises(EngineUnavailable, match=told):
            connect(config, None, {}).version()
    config.write_text(
        text.replace("127.0.0.1", "localhost").replace('"server"', '"tls-server-name": "127.0.0.1", "server"')
    )
    assert connect(config, None, {}).version() == "v1.36.2"
    config.write_text(
        text.replace(f'"certificate-authority": "{cluster.authority.ca_file}"', '"insecure-skip-tls-verify": true')
    )
    assert connect(config, None, {}).version() == "v1.36.2"


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """One that connects to whatever it is asked for (CONNECT), and what it was asked for."""
    asked: list[str] = []

    class Connects(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().strip())
            while line := self.rfile.readline().decode().strip():
                asked[-1] += f" {line}"
            host, _, port = asked[-1].split()[1].rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.wfile.write(b"HTTP/1.1 200 connected\r\n\r\n")
                back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
                back.start()
                _pump(self.connection, there)
                back.join(5)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Connects) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def _pump(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            to.sendall(data)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)


def test_a_proxy_is_gone_through_and_the_servers_certificate_checked_behind_it(cluster: FakeCluster) -> None:
    config = cluster.kubeconfig()
    with proxy() as (url, asked):
        named = url.replace("http://", "http://me:hush@")
        config.write_text(config.read_text().replace('"server"', f'"proxy-url": "{named}", "server"'))
        api = connect(config, None, {})
        assert api.version() == "v1.36.2"
        assert base64.b64encode(b"me:hush").decode() in asked[0]
        assert [line.split()[:2] for line in asked] == [["CONNECT", f"127.0.0.1:{cluster.server.port}"]]
        assert {event.type for event in api.watch(POD, "", api.list(POD).resource_version, 1)} == {"BOOKMARK"}
        api._transport.close()
    with pytest.raises(
        EngineUnavailable, match=r"does not answer \(connection refused\).*through the proxy 127"
    ) as caught:
        connect(config, None, {}).version()
    assert "hush" not in caught.value.message


def test_an_address_where_nothing_or_something_else_answers(cluster: FakeCluster) -> None:
    config = cluster.kubeconfig()
    config.write_text(config.read_text().replace(str(cluster.server.port), str(free_ports(1)[0])))
    with pytest.raises(EngineUnavailable, match="connection refused"):
        connect(config, None, {}).version()
    cluster.network.answers = lambda _: (200, b"<html>welcome</html>")
    with pytest.raises(EngineUnavailable, match="not as Kubernetes' API: correct the server's address"):
        connect(cluster.kubeconfig(), None, {}).version()
    cluster.network.answers = lambda _: (302, b"")
    with pytest.raises(EngineUnavailable, match=r"answers 302 .*is it the API server's address"):
        connect(cluster.kubeconfig(), None, {}).version()


def test_a_key_with_a_password_asks_no_terminal(cluster: FakeCluster) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    cert, _ = client_certificate(cluster.authority, "a person")
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"hush")
    )
    user = {"client-certificate-data": cert, "client-key-data": base64.b64encode(locked).decode()}
    with pytest.raises(EngineDenied, match="do not belong together, or are no PEM"):
        connect(cluster.kubeconfig(user=user), None, {}).version()


STRANGE = (
    b"",
    b"\xff\x00",
    b"<html>",
    b"[]",
    b"null",
    b"{}",
    b'{"items": 3, "metadata": {}}',
    b'{"items": [1], "metadata": {}}',
    b'{"items": [{"metadata": {}}], "metadata": {}}',
    b'{"status": 1}',
    b'{"kind": "Status", "details": 1, "message": 5}',
    b'{"kind": "Status", "details": {"causes": [1, {"reason": "FieldManagerConflict"}]}}',
    b'{"type": "ERROR", "object": {"code": "x"}}\n',
    b'{"type": "ADDED", "object": 7}\n',
)


@pytest.mark.parametrize("code", [200, 403, 404, 409, 410, 422, 503])
def test_whatever_a_server_says_only_our_errors_come_out(cluster: FakeCluster, timeless: Timeless, code: int) -> None:
    api = timeless.api
    asked: list[Callable[[], Any]] = [
        lambda: api.get(POD, "one"),
        lambda: api.apply(SECRET_BODY),
        lambda: api.delete(SECRET, "one"),
        lambda: api.can("get", POD),
        lambda: list(api.watch(POD, "", "1", 1)),
        lambda: api.logs("one", "replica", 5),
        api.check_namespace,
        api.version,
        lambda: api.list(POD),
    ]
    for body in STRANGE:
        cluster.network.answers = lambda _, body=body: (code, body)
        for ask in asked:
            with suppress(TidegateError, Gone):
                ask()


def test_requests_have_their_query_and_secrets_stay_out_of_words(timeless: Timeless) -> None:
    assert ApiRequest("GET", "/x", {"labelSelector": "a=b,c"}).target == "/x?labelSelector=a%3Db%2Cc"
    assert TOKEN not in repr(timeless.transport.access)
    assert ssl.OPENSSL_VERSION_INFO >= (1, 1, 1)
