"""Mail by SMTP: `smtp://` with STARTTLS where the server offers it, `smtps://` with TLS from the first byte."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

from tidegate.adapters.notifiers.reach import Deadline, Reach
from tidegate.clock import Clock
from tidegate.core.alerting.messages import titled
from tidegate.errors import DeliveryFailed, DeliveryRefused

_Refused = dict[str, tuple[int, bytes]]
"""By recipient, what the server said."""


class Smtp:
    """One mail a message, to all recipients."""

    def __init__(self, reach: Reach, clock: Clock) -> None:
        self._reach, self._clock = reach, clock

    def send(self, config: Mapping[str, str], delivery: str, payload: Mapping[str, Any]) -> str:
        """The mail's Message-ID is the same whenever it is sent again. A password goes over TLS alone.

        Returns whom of the recipients the server did not take, where it took others: those have the mail.
        """
        parts = urlsplit(config["url"])
        host, secure = parts.hostname or "", parts.scheme == "smtps"
        port = parts.port or (465 if secure else 25)
        mail = _mail(config, delivery, payload, self._clock())
        with self._reach.deadline() as limit:
            try:
                client = _Client(self._reach, limit, host, port, secure)
                refused = self._exchange(client, parts.username, parts.password, mail)
            except smtplib.SMTPRecipientsRefused as error:
                why = f"the server takes none of the recipients: {_refusals(error.recipients)}"
                lasting = all(500 <= code < 600 for code, _ in error.recipients.values())
                raise (DeliveryRefused if lasting else DeliveryFailed)(why) from error
            except smtplib.SMTPResponseException as error:
                why = f"the server answered {error.smtp_code}: {_said(error)}"
                raise (DeliveryRefused if 500 <= error.smtp_code < 600 else DeliveryFailed)(why) from error
            except smtplib.SMTPException as error:
                if limit.passed:
                    raise TimeoutError from error
                raise DeliveryFailed(f"{type(error).__name__}: {error}") from error
        return f"not taken for {_refusals(refused)}" if refused else ""

    def _exchange(self, client: _Client, user: str | None, password: str | None, mail: EmailMessage) -> _Refused:
        try:
            client.ehlo()
            if not client.secure and client.has_extn("starttls"):
                client.begin_tls()
                client.ehlo()
            if user is not None:
                if not client.secure:
                    raise DeliveryRefused("the server offers no TLS, and without it no password is sent: use smtps://")
                client.login(unquote(user), unquote(password or ""))
            return client.send_message(mail)
        finally:
            client.close()


class _Client(smtplib.SMTP):
    """Over connections that `Reach` makes."""

    def __init__(self, reach: Reach, limit: Deadline, host: str, port: int, secure: bool) -> None:
        self._reach, self._limit, self.secure = reach, limit, secure
        self._to = host
        super().__init__(host, port, local_hostname="tidegate", timeout=limit.left_s())

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's signature
        opened = self._reach.connect(host, port, self._limit)
        return self._limit.with_tls(opened, host, ssl.create_default_context()) if self.secure else opened

    def begin_tls(self) -> None:
        """STARTTLS, with the server's name checked, on a socket that the deadline still ends."""
        code, said = self.docmd("STARTTLS")
        if code != 220 or self.sock is None:
            raise smtplib.SMTPResponseException(code, said)
        self.sock = self._limit.with_tls(self.sock, self._to, ssl.create_default_context())
        if self.file is not None:
            self.file.close()
        self.file = None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self.secure = True


def _mail(config: Mapping[str, str], delivery: str, payload: Mapping[str, Any], at: float) -> EmailMessage:
    title, lines = titled(payload)
    mail = EmailMessage()
    mail["Subject"] = " ".join(f"Tidegate {title}".split())
    mail["From"], mail["To"] = config["sender"], config["recipients"]
    mail["Date"], mail["Message-ID"] = formatdate(at), f"<{delivery}@tidegate>"
    link = [payload["externalURL"]] if payload["externalURL"] else []
    mail.set_content("\n\n".join([*lines, *link]) + "\n")
    return mail


def _refusals(refused: _Refused) -> str:
    return "; ".join(f"{who}: {code} {said.decode('utf-8', 'replace')}" for who, (code, said) in refused.items())


def _said(error: smtplib.SMTPException) -> str:
    said = getattr(error, "smtp_error", b"") or error
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
