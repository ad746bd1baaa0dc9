"""Servers on loopback that take alerts: a webhook whose answers are scripted, and SMTP with TLS and login."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@contextmanager
def one_answer(answer: bytes) -> Iterator[str]:
    """The URL of a server that answers these bytes, which need not be HTTP, to the first who connects, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            with suppress(OSError), server.accept()[0] as peer:
                peer.recv(1 << 16)
                peer.sendall(answer)

        threading.Thread(target=once, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def dripping(begin: bytes) -> Iterator[int]:
    """The port of a server that begins an answer, and then sends a byte of it every tenth of a second."""
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with suppress(OSError), server.accept()[0] as peer:
                peer.sendall(begin)
                while not is_over.wait(0.1):
                    peer.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        yield server.getsockname()[1]
        is_over.set()


@dataclass
class Webhook:
    """A webhook: `answers` are the statuses of the next calls, with a Retry-After behind a colon; then 200."""

    url: str = ""
    answers: list[str] = field(default_factory=list)
    says: bytes = b""  # in every answer
    sizes: list[int] = field(default_factory=list)  # of what was posted, in bytes
    received: list[tuple[str, str, dict[str, Any]]] = field(
        default_factory=list
    )  # method, path, JSON; also refused ones

    @property
    def texts(self) -> list[str]:
        """The texts that were posted."""
        return [content["text"] for _, _, content in self.received]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that listens until the end of the block."""
    known = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known.sizes.append(len(content))
            known.received.append((self.command, self.path, json.loads(content) if content else {}))
            status, _, wait = (known.answers.pop(0) if known.answers else "200").partition(":")
            self.send_response(int(status))
            if wait:
                self.send_header("Retry-After", wait)
            if status.startswith("3"):
                self.send_header("Location", f"{known.url}/elsewhere")
            self.end_headers()
            self.wfile.write(known.says)

        do_POST = do_GET = _answer  # noqa: N815 - names that http.server gives

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_port}/T0KEN-of-the-hook"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Mailbox:
    """The mails that a server took; `answers` are what it says to the next ones instead of 250."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    was_encrypted: list[bool] = field(default_factory=list)
    refused_sender: bool = False

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a sender, unless it is to be refused."""
        envelope.mail_from = address
        return "550 no such sender" if self.refused_sender else "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Take a mail, or say what is scripted."""
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=default)
        assert isinstance(mail, EmailMessage)
        assert envelope.rcpt_tos == [mail["To"]]
        self.mails.append(mail)
        assert server.transport is not None
        self.was_encrypted.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return "250 OK"

    @property
    def texts(self) -> list[str]:
        """The texts of the mails."""
        return [mail.get_content() for mail in self.mails]


class _Controller(Controller):
    """One that listens on a free port and knows which."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def smtp(
    folder: Path, *, starttls: bool = False, tls: bool = False, login: tuple[str, str] | None = None
) -> Iterator[Mailbox]:
    """An SMTP server until the end of the block. Its certificate for 127.0.0.1 is `folder`/certificate.pem."""
    box = Mailbox()
    context = _server_context(folder) if starttls or tls else None

    def is_right(_server: SMTP, _session: Session, _envelope: Envelope, _way: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        box.logins.append(data.login.decode())
        right = login is not None and (data.login.decode(), data.password.decode()) == login
        return AuthResult(success=right, handled=False)

    controller = _Controller(
        box,
        hostname="127.0.0.1",
        port=0,
        ssl_context=context if tls else None,
        tls_context=context if starttls else None,
        require_starttls=starttls,
        authenticator=is_right if login else None,
        auth_required=login is not None,
        auth_require_tls=starttls,
        auth_exclude_mechanism=[],
    )
    controller.start()
    try:
        box.port = controller.port
        yield box
    finally:
        controller.stop()


def _server_context(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
