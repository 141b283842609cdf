"""What holds of every notifier: what is delivered, what is tried again, and that none goes beyond its deadline."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from support.receivers import Mailbox, Receiver, hanging_server, http_receiver, mail_receiver
from tidegate.adapters.notifiers.reach import LOOPBACK, Reach, read_networks
from tidegate.adapters.notifiers.sending import Notifying, check_config
from tidegate.adapters.notifiers.webhook import signature
from tidegate.core.alerting.machine import step
from tidegate.core.alerting.messages import payload, trial_payload
from tidegate.core.alerting.model import AlertFacts, Observation
from tidegate.core.alerting.model import Receiver as Wanted
from tidegate.errors import InvalidArgument
from tidegate.errors.alerts import DeliveryFailed, DeliveryRefused

OVER_HTTP = ("webhook", "alertmanager", "slack")
KINDS = (*OVER_HTTP, "smtp")
MAIL = {"sender": "tidegate@example.com", "recipients": "ada@example.com, bob@example.com"}
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
AT = 1_764_000_000.0


def _message() -> dict[str, Any]:
    found = Observation(
        "data_drift", "churn", "feature_drift", "alert", "2", "age", severity="high", message="age <moved> by 0.31",
        evidence={"effect": 0.31},
    )  # fmt: skip
    return payload(step(AlertFacts(receivers=(Wanted("hook"),)), [found], AT).notices[0], "http://console")


def _notifying(deadline_s: float = 5.0) -> Notifying:
    return Notifying(Reach(LOOPBACK, deadline_s), lambda: AT)


def _config(kind: str, address: str) -> dict[str, str]:
    return {"url": f"smtp://{address}", **MAIL} if kind == "smtp" else {"url": f"http://{address}/hook"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as found:
        yield found


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_receiver() as found:
        yield found


def test_a_webhook_gets_alertmanagers_payload_with_a_signature_over_id_time_and_body(receiver: Receiver) -> None:
    _notifying().send("webhook", {"url": f"{receiver.url}/hook?a=1", "secret": SECRET}, "d-1", _message())
    (got,) = receiver.got
    assert got.path == "/hook?a=1"
    signed = f"d-1.{got.headers['webhook-timestamp']}.".encode() + got.body
    digest = hmac.new(b"0123456789abcdef", signed, hashlib.sha256).digest()
    assert got.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert (got.headers["webhook-id"], got.headers["webhook-timestamp"]) == ("d-1", str(int(AT)))
    (alert,) = got.json.pop("alerts")
    assert got.json["version"] == "4"
    assert got.json["groupLabels"] == {"alertname": "data_drift", "endpoint": "churn"}
    assert (got.json["status"], got.json["receiver"], got.json["truncatedAlerts"]) == ("firing", "hook", 0)
    assert alert["labels"] == {
        "alertname": "data_drift",
        "endpoint": "churn",
        "version": "2",
        "monitor": "feature_drift",
        "feature": "age",
        "severity": "high",
    }
    assert alert["annotations"]["summary"] == "age <moved> by 0.31"
    assert alert["annotations"]["effect"] == "0.31"
    assert (alert["startsAt"], alert["endsAt"]) == ("2025-11-24T16:00:00.000Z", "0001-01-01T00:00:00Z")


def test_the_signature_is_the_one_of_standard_webhooks() -> None:
    """The example of their specification's reference libraries."""
    body = b'{"test": 2432232314}'
    found = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_alertmanager_gets_alerts_of_its_second_api(receiver: Receiver) -> None:
    _notifying().send("alertmanager", {"url": receiver.url + "/"}, "d-1", _message())
    (got,) = receiver.got
    assert got.path == "/api/v2/alerts"
    (alert,) = got.json
    assert alert["labels"]["alertname"] == "data_drift"
    assert alert["endsAt"] == "2025-11-26T16:00:00.000Z", "it ends by itself where nobody says so"
    assert alert["generatorURL"] == "http://console/endpoints/churn"


def test_slack_gets_text_that_cannot_be_markup(receiver: Receiver) -> None:
    _notifying().send("slack", {"url": receiver.url}, "d-1", _message())
    (got,) = receiver.got
    assert got.json["text"] == "[FIRING:1] data_drift of churn"
    assert got.json["attachments"][0]["text"] == "high: age, version 2: age &lt;moved&gt; by 0.31"
    assert got.json["attachments"][0]["color"] == "#d63232"


def test_mail_has_a_subject_and_a_line_for_each_alert(mailbox: Mailbox) -> None:
    _notifying().send("smtp", _config("smtp", mailbox.address), "d-1", _message())
    ((sender, recipients, text),) = mailbox.got
    assert (sender, recipients) == ("tidegate@example.com", ["ada@example.com", "bob@example.com"])
    assert "Subject: Tidegate [FIRING:1] data_drift of churn" in text
    assert "Message-ID: <d-1@tidegate>" in text
    assert "high: age, version 2: age <moved> by 0.31" in text


def test_a_mail_that_some_recipients_do_not_get_says_who(mailbox: Mailbox) -> None:
    assert _notifying().send("smtp", _config("smtp", mailbox.address), "d-1", _message()) == ""
    mailbox.unknown = ("bob@example.com",)
    said = _notifying().send("smtp", _config("smtp", mailbox.address), "d-2", _message())
    assert said == "not taken for bob@example.com: 550 nobody of that name"
    assert len(mailbox.got) == 2
    mailbox.unknown, mailbox.refuse_with = (), "451 try later"
    with pytest.raises(DeliveryFailed, match=r"ada@example\.com: 451 try later") as raised:
        _notifying().send("smtp", _config("smtp", mailbox.address), "d-3", _message())
    assert not isinstance(raised.value, DeliveryRefused)


def test_a_mail_server_that_refuses_is_not_asked_again_and_a_busy_one_is(mailbox: Mailbox) -> None:
    mailbox.refuse_with = "550 nobody of that name"
    with pytest.raises(DeliveryRefused, match="none of the recipients"):
        _notifying().send("smtp", _config("smtp", mailbox.address), "d-1", _message())
    with pytest.raises(DeliveryRefused, match="offers no TLS"):
        _notifying().send("smtp", {"url": f"smtp://me:secret@{mailbox.address}", **MAIL}, "d-1", _message())


@pytest.mark.parametrize("kind", OVER_HTTP)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, DeliveryFailed),
        (503, DeliveryFailed),
        (429, DeliveryFailed),
        (404, DeliveryRefused),
        (401, DeliveryRefused),
    ],
)
def test_what_a_server_answers_says_whether_it_is_asked_again(
    receiver: Receiver, kind: str, status: int, error: type[DeliveryFailed]
) -> None:
    receiver.status, receiver.said = status, b"why " + b"x" * 100_000
    with pytest.raises(DeliveryFailed, match=f"answered {status}: why") as raised:
        _notifying().send(kind, {"url": receiver.url}, "d-1", _message())
    assert type(raised.value) is error
    assert len(raised.value.message) < 400


@pytest.mark.parametrize("kind", OVER_HTTP)
def test_no_redirect_is_followed(receiver: Receiver, kind: str) -> None:
    with http_receiver() as elsewhere:
        receiver.status, receiver.answer_headers = 307, {"location": elsewhere.url}
        with pytest.raises(DeliveryRefused, match="redirects are not followed"):
            _notifying().send(kind, {"url": receiver.url}, "d-1", _message())
        assert elsewhere.got == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dripped", [b"", b"1"])
def test_a_server_that_hangs_or_drips_keeps_nobody_beyond_the_deadline(kind: str, dripped: bytes) -> None:
    with hanging_server(dripped) as address, pytest.raises(DeliveryFailed):
        _notifying(deadline_s=0.3).send(kind, _config(kind, address), "d-1", _message())


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_hangs_in_tls_is_cut_off_too(kind: str) -> None:
    with hanging_server() as address:
        config = _config(kind, address)
        config["url"] = config["url"].replace("http:", "https:").replace("smtp:", "smtps:")
        with pytest.raises(DeliveryFailed, match="no answer within"):
            _notifying(deadline_s=0.3).send(kind, config, "d-1", _message())


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_at_the_address_and_no_address_is_tried_again(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "no-such-host.invalid:80"):
        with pytest.raises(DeliveryFailed) as raised:
            _notifying().send(kind, _config(kind, address), "d-1", _message())
        assert not isinstance(raised.value, DeliveryRefused)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "10.1.2.3", "[::1]", "0.0.0.0", "2130706433"]
)
def test_internal_addresses_are_refused_unless_their_network_is_listed(kind: str, host: str) -> None:
    closed = Notifying(Reach(), lambda: AT)
    with pytest.raises(DeliveryRefused, match="internal address"):
        closed.send(kind, _config(kind, f"{host}:9"), "d-1", trial_payload("a", "", AT))


@pytest.mark.parametrize(
    "address",
    [
        *("64:ff9b::a9fe:a9fe", "::7f00:1", "2002:7f00:1::1", "::ffff:10.0.0.1", "fec0::1", "::", "::1", "fe80::1"),
        *("64:ff9b:1::a9fe:a9fe", "64:ff9b:1:fffe::7f00:1", "::ffff:0:127.0.0.1"),
    ],
)
def test_an_internal_address_in_the_clothes_of_another_is_refused(address: str) -> None:
    assert not Reach().allows(ipaddress.ip_address(address))
    assert Reach(read_networks("127.0.0.0/8, 10.0.0.0/8, 169.254.0.0/16, ::/0")).allows(ipaddress.ip_address(address))
    assert all(Reach().allows(ipaddress.ip_address(one)) for one in ("64:ff9b::808:808", "2606:4700::1111", "8.8.8.8"))


def test_a_url_beyond_ascii_is_sent_as_browsers_send_it(receiver: Receiver) -> None:
    _notifying().send("webhook", {"url": f"{receiver.url}/häuser?a=%20&b=ü"}, "d-1", _message())
    assert receiver.got[0].path == "/h%C3%A4user?a=%20&b=%C3%BC"


def test_networks_are_listed_with_commas() -> None:
    reach = Reach(read_networks("10.0.0.0/8, fd00::/8"))
    inside = ["10.1.1.1", "11.1.1.1", "fd00::1", "::ffff:10.0.0.1"]
    outside = ["192.168.0.1", "::ffff:127.0.0.1", "224.0.0.1"]
    assert [one for one in inside + outside if reach.allows(ipaddress.ip_address(one))] == inside
    with pytest.raises(InvalidArgument, match="TIDEGATE_NOTIFY_NETWORKS"):
        read_networks("10.0.0.0/8,home")


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        ("webhook", {"url": "ftp://a/"}, "url"),
        ("webhook", {"url": "http://"}, "url"),
        ("webhook", {"url": "http://a b/"}, "url"),
        ("slack", {"url": "https://a/", "sender": "a@b"}, "sender"),
        ("smtp", {"url": "http://a", **MAIL}, "url"),
        ("smtp", {"url": "smtp://a"}, "sender"),
        ("smtp", {"url": "smtp://a", "sender": "nobody", "recipients": "a@b"}, "sender"),
        ("smtp", {"url": "smtp://a", "sender": "a@b", "recipients": "a@b\nBcc: c@d"}, "recipients"),
    ],
)
def test_what_nothing_could_be_sent_with_is_refused(kind: str, config: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_config(kind, config)
    assert raised.value.details["field"] == field


def test_a_message_says_how_many_alerts_it_leaves_out() -> None:
    many = [Observation("data_drift", "churn", "d", "alert", feature=f"f{number}") for number in range(60)]
    body = payload(step(AlertFacts(receivers=(Wanted("hook"),)), many, AT).notices[0], "")
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (50, 10)
