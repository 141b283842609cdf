"""The notifier that Apprise sends for: what arrives, and that no service of it goes where notifiers may not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.receivers import Receiver, hanging_server, http_receiver
from tidegate.adapters.notifiers import apprise
from tidegate.adapters.notifiers.apprise_process import AuditGuard
from tidegate.adapters.notifiers.reach import LOOPBACK, Reach, read_networks
from tidegate.adapters.notifiers.sending import Notifying, check_config
from tidegate.core.alerting.messages import trial_payload
from tidegate.errors import InvalidArgument
from tidegate.errors.alerts import DeliveryFailed, DeliveryRefused

AT = 1_764_000_000.0
MESSAGE = trial_payload("phones", "http://console", AT)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as found:
        yield found


def _send(url: str, networks: str = "127.0.0.0/8", deadline_s: float = 20.0) -> str:
    return Notifying(Reach(read_networks(networks), deadline_s), lambda: AT).send("apprise", {"url": url}, "d", MESSAGE)


def test_a_message_arrives_and_what_is_answered_decides_whether_it_is_sent_again(receiver: Receiver) -> None:
    url = receiver.url.replace("http", "json") + "/secret-path"
    assert _send(url) == ""
    (got,) = receiver.got
    assert got.path.startswith("/secret-path")
    assert got.json["title"].startswith("Tidegate [FIRING:1]")
    assert "http://console" in got.json["message"]
    receiver.status = 503
    with pytest.raises(DeliveryFailed, match=r"did not send it: .*503") as raised:
        _send(url)
    assert not isinstance(raised.value, DeliveryRefused)
    assert "secret" not in raised.value.message


def test_a_redirect_to_an_internal_address_is_refused(receiver: Receiver) -> None:
    with http_receiver() as elsewhere:
        inside = elsewhere.url.replace("127.0.0.1", "127.0.0.2")
        receiver.status, receiver.answer_headers = 307, {"location": inside}
        with pytest.raises(DeliveryRefused, match=r"127\.0\.0\.2 is an internal address"):
            _send(receiver.url.replace("http", "json"), "127.0.0.1/32")
        assert elsewhere.got == []


@pytest.mark.parametrize("host", ["localhost", "169.254.169.254"])
def test_internal_addresses_are_refused(host: str) -> None:
    with pytest.raises(DeliveryRefused, match="internal address: list its network in TIDEGATE_NOTIFY_NETWORKS"):
        _send(f"json://{host}:9/", "")


def test_a_service_that_reads_a_file_of_this_machine_is_refused() -> None:
    with pytest.raises(DeliveryRefused, match="/etc/passwd is a file that Apprise is not allowed"):
        _send("fcm://project@abcdefghi/device/?mode=oauth2&keyfile=/etc/passwd")


def test_files_where_the_platform_was_started_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as 'python -m' does
    template = tmp_path / "keys.json"
    template.write_text("{}")
    with pytest.raises(DeliveryRefused, match=r"keys\.json is a file that Apprise is not allowed"):
        _send(f"discord://4174216298/{'a' * 60}/?template={template}", "")


def test_nothing_is_written_to_the_log_of_the_system() -> None:
    with pytest.raises(InvalidArgument, match="the log of this machine's system"):
        check_config("apprise", {"url": "syslog://"})


def test_a_server_that_hangs_keeps_nobody_beyond_the_deadline() -> None:
    with hanging_server(b"") as address, pytest.raises(DeliveryFailed, match=r"no answer within 0\.3 s"):
        _send(f"json://{address}/", deadline_s=0.3)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nosuch://secret", "Apprise does not take this URL"),
        ("json://a.example,json://b.example", "make one for each"),
        ("", "1 to 2000 characters"),
    ],
)
def test_a_url_that_apprise_does_not_take_is_refused_and_not_repeated(url: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why) as raised:
        check_config("apprise", {"url": url})
    assert raised.value.details["field"] == "url"
    assert "secret" not in raised.value.message


def test_without_apprise_the_answer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise, "find_spec", lambda _name: None)
    with pytest.raises(InvalidArgument, match=r"pip install 'tidegate\[apprise\]'"):
        check_config("apprise", {"url": "json://a.example"})
    with pytest.raises(DeliveryRefused, match=r"pip install 'tidegate\[apprise\]'"):
        _send("json://a.example")


def test_the_guard_judges_each_event() -> None:
    guard = AuditGuard(Reach(LOOPBACK), (sys.prefix, "/dev/null"))
    allowed: list[tuple[str, tuple[Any, ...]]] = [
        ("socket.connect", (None, ("127.0.0.1", 80))),
        ("socket.connect", (None, ("::1", 80, 0, 0))),
        ("socket.sendmsg", (None, None)),
        ("open", (f"{sys.prefix}/a.py", "r", 0)),
        ("open", (3, "r", 0)),
        ("open", ("/dev/null", "w", 1)),
        ("ctypes.dlopen", (None,)),
        ("import", ("json", None, None, None, None)),
    ]
    for event, given in allowed:
        guard(event, given)
    assert guard.denied == []
    denied: list[tuple[str, tuple[Any, ...]]] = [
        ("socket.connect", (None, ("10.0.0.1", 80))),
        ("socket.connect", (None, ("fe80::1%eth0", 80, 0, 2))),
        ("socket.connect", (None, ("localhost", 80))),
        ("socket.connect", (None, "/run/dbus/system_bus_socket")),
        ("socket.sendto", (None, ("169.254.169.254", 514))),
        ("open", (f"{sys.prefix}/../../etc/passwd", "r", 0)),
        ("open", (f"{sys.prefix}/a.py", "w", 1)),
        ("open", (b"/proc/self/environ", "r", 0)),
        ("ctypes.dlopen", ("libc.so.6",)),
        ("subprocess.Popen", ("sh", [], None, None)),
        ("os.fork", ()),
        ("syslog.syslog", (1, "text")),
    ]
    for event, given in denied:
        with pytest.raises(PermissionError):
            guard(event, given)
    assert len(guard.denied) == 12
