"""A certificate authority of a test's own, and what stands before a server as ingresses do: it ends TLS there."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tidegate import clock

DAY = timedelta(days=1)


class Authority:
    """Signs certificates for names and addresses; `ca_file` is what clients trust it by."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Authority of a test")
        made = self._builder(self._name, self._key.public_key(), days=1)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, *, days: int = 1) -> ssl.SSLContext:
        """A server's context, with a certificate for this host name or address; expired where `days` is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        made = self._builder(_named(name), key.public_key(), days)
        made = made.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        file = self._folder / f"{name}-{days}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + _pem(made.sign(self._key, hashes.SHA256())))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        now = datetime.fromtimestamp(clock.now(), UTC)
        made = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        return made.not_valid_before(now - 3 * DAY).not_valid_after(now + days * DAY)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class _Holding:
    """While it holds, what clients send does not get on; `waiting` counts the connections of which something waits."""

    go: asyncio.Event
    waiting: int = 0


class Terminator:
    """Listens on a free port of 127.0.0.1, ends TLS there, and hands on to another port.

    `open` counts the connections there are now, `accepted` all there ever were.
    """

    def __init__(self, context: ssl.SSLContext, to_port: int) -> None:
        self.open = self.accepted = self.port = 0
        self._context = context
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._holding = _Holding(asyncio.Event())
        self._holding.go.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    @property
    def waiting(self) -> int:
        return self._holding.waiting

    def hold(self) -> None:
        """Let nothing on from now."""
        self._loop.call_soon_threadsafe(self._holding.go.clear)

    def let_go(self) -> None:
        self._loop.call_soon_threadsafe(self._holding.go.set)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.accepted += 1
        with contextlib.suppress(OSError):
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            back = asyncio.create_task(_pump(their_reader, writer, None))
            try:
                await _pump(reader, their_writer, self._holding)
            finally:
                back.cancel()
                their_writer.close()
        self.open -= 1
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, holding: _Holding | None) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            if holding is not None and not holding.go.is_set():
                holding.waiting += 1
                await holding.go.wait()
                holding.waiting -= 1
            writer.write(data)
            await writer.drain()
    writer.close()
