"""A real SMTP server on a free loopback port, in its own thread."""

import asyncio
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "127.0.0.1"
Stage = Literal["MAIL", "RCPT", "DATA"]


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that the server accepted, with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)


@dataclass(eq=False)
class MailServer:
    """Records accepted mails, and scripts the server's replies.

    `replies` replaces the usual reply by command; `vanish` names commands after which the server closes the connection
    without a reply; `hang` names commands that it never answers.
    """

    port: int
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    replies: dict[Stage, str] = field(default_factory=dict)
    vanish: set[Stage] = field(default_factory=set)
    hang: set[Stage] = field(default_factory=set)

    async def handle_EHLO(  # noqa: N802  aiosmtpd calls it so
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802  aiosmtpd calls it so
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._answer(server, "MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802  aiosmtpd calls it so
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return await self._answer(server, "RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd calls it so
        answer = await self._answer(server, "DATA", "250 OK, queued")
        if answer.startswith("250"):
            content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
            self.received.append(Received(envelope.mail_from or "", tuple(envelope.rcpt_tos), content))
        return answer

    async def _answer(self, server: SMTP, stage: Stage, usual: str) -> str:
        if stage in self.hang:
            await asyncio.get_running_loop().create_future()
        if stage in self.vanish and server.transport is not None:
            server.transport.close()
        return self.replies.get(stage, usual)


@contextmanager
def serving_mail(
    *,
    tls: Literal["starttls", "tls"] | None = None,
    account: tuple[str, str] | None = None,
    certificate: "Certificate | None" = None,
) -> Iterator[MailServer]:
    """Run a server that accepts mail until the block ends.

    Args:
        tls: kind of encryption, which is then required.
        account: required username and password, accepted only with STARTTLS; None accepts everyone.
        certificate: the certificate for `tls`.
    """
    context = None if certificate is None else certificate.for_server()
    options: dict[str, Any] = {"enable_SMTPUTF8": True}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if account is not None:
        options |= {
            "authenticator": lambda *asked: AuthResult(success=_is(account, asked[-1]), handled=False),
            "auth_required": True,
        }
    server = MailServer(_free_port())
    controller = Controller(
        server, hostname=HOST, port=server.port, ssl_context=context if tls == "tls" else None, **options
    )
    controller.start()
    server.connections = 0  # do not count the controller's own check
    try:
        yield server
    finally:
        controller.stop()


def _is(account: tuple[str, str], given: Any) -> bool:
    return isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == account


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Certificate:
    """A self-signed certificate for the loopback address."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Portico's tests")])
        now = datetime.now(UTC)
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def write(self, certificate: Path, key: Path) -> None:
        """Write the certificate and its key as PEM files."""
        certificate.write_bytes(self._certificate)
        key.write_bytes(self._key)

    def for_server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "server.pem"
            path.write_bytes(self._key + self._certificate)
            context.load_cert_chain(path)
        return context

    def for_client(self) -> ssl.SSLContext:
        """Return a context that trusts only this certificate."""
        return ssl.create_default_context(cadata=self._certificate.decode())
