"""Mail submission by SMTP (RFC 5321)."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from portico.services.notifications.mail.base import (
    Address,
    Mail,
    MailDeferred,
    Mailer,
    MailFailed,
    MailRefused,
    MailUncertain,
    as_bytes,
)

Security = Literal["tls", "starttls", "none"]

_PERMANENT = 500  # RFC 5321 section 4.2.1: replies from 500 on are permanent failures
_IDLE = 20.0  # seconds after which a connection is not reused: servers close idle ones silently
_QUIT_TIMEOUT = 2.0  # seconds that a server has to answer QUIT

_BROKEN = (SMTPException, OSError)  # time-outs and untrusted certificates are OSErrors


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The server that accepts mail.

    Args:
        host: its name; with TLS its certificate must match.
        port: usually 587 for STARTTLS, 465 for implicit TLS.
        security: how the connection is encrypted.
        username: the account, or None without authentication.
        password: the account's password.
    """

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class SmtpMailer(Mailer):
    """Submits mails to one server and reuses connections.

    Args:
        server: the server.
        sender: the From address.
        limit: the longest time (seconds) that sending one mail may take.
        connections: the largest number of connections; further mails wait for a free one.
        tls: the TLS context; by default the system's certificates are trusted.
    """

    def __init__(
        self,
        server: SmtpServer,
        sender: Address,
        *,
        limit: float,
        connections: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.server = server
        self.sender = sender
        self.limit = limit
        self._tls = tls if tls is not None or server.security == "none" else ssl.create_default_context()
        self.concurrency = connections
        self._free = asyncio.Semaphore(connections)
        self._idle: list[tuple[SMTP, float]] = []

    async def send(self, mail: Mail) -> str:
        progress = _Progress()
        async with self._free:
            try:
                async with asyncio.timeout(self.limit), self._connection(progress) as client:
                    return await self._submit(client, mail, progress)
            except _BROKEN as error:
                raise _mail_error(error, progress) from error

    async def check(self) -> None:
        """Raise MailDeferred unless the server accepts a connection and the credentials."""
        progress = _Progress()
        async with self._free:
            try:
                async with asyncio.timeout(self.limit), self._connection(progress) as client:
                    await client.noop()
            except _BROKEN as error:
                raise _mail_error(error, progress) from error

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            client, _ = self._idle.pop()
            with suppress(SMTPException, OSError):  # the connection is closed already
                await client.quit(timeout=_QUIT_TIMEOUT)
            client.close()

    async def _submit(self, client: SMTP, mail: Mail, progress: "_Progress") -> str:
        international = mail.to.is_international or self.sender.is_international
        if international and not client.supports_extension("smtputf8"):
            raise MailRefused(f"{self.server.host} does not support international addresses (SMTPUTF8)")
        message = await asyncio.to_thread(as_bytes, mail, self.sender)  # encoding a large mail is slow
        encoding = "utf-8" if international else "ascii"
        options = ["SMTPUTF8"] if international else []
        await client.mail(self.sender.email, options=options, encoding=encoding)
        progress.stage = "recipient"
        await client.rcpt(mail.to.email, encoding=encoding)
        progress.stage = "content"
        answer = await client.data(message)
        return f"{answer.code} {answer.message}"

    @asynccontextmanager
    async def _connection(self, progress: "_Progress") -> AsyncIterator[SMTP]:
        """Yield a connection. It is reused for the next mail unless this block fails."""
        client = await self._fresh_idle() or await self._connected()
        progress.stage = "sender"
        try:
            yield client
        except BaseException:
            client.close()
            raise
        self._idle.append((client, time.monotonic()))

    async def _fresh_idle(self) -> SMTP | None:
        """Return an idle connection that still answers, or None."""
        while self._idle:
            client, since = self._idle.pop()
            if client.is_connected and time.monotonic() - since < _IDLE:
                with suppress(SMTPException, OSError):  # the server closed it: open a new one
                    await client.rset()
                    return client
            client.close()
        return None

    async def _connected(self) -> SMTP:
        client = SMTP(
            hostname=self.server.host,
            port=self.server.port,
            username=self.server.username,
            password=self.server.password,
            local_hostname=_local_hostname(),
            timeout=self.limit,
            use_tls=self.server.security == "tls",
            start_tls=self.server.security == "starttls",
            tls_context=self._tls,
        )
        await client.connect()
        try:
            await client.ehlo()
        except BaseException:
            client.close()
            raise
        return client


@dataclass(slots=True)
class _Progress:
    """How far the transfer got. What an error means depends on it."""

    stage: Literal["connection", "sender", "recipient", "content"] = "connection"


def _mail_error(error: Exception, progress: _Progress) -> MailFailed:
    """Map an SMTP error to what it means for the mail.

    A permanent reply to the recipient or the content concerns this mail. A rejected sign-in or sender concerns the
    settings: mails wait until they are corrected. After the content was begun, a lost connection leaves the outcome open.
    """
    answer = str(error) or "the server did not answer in time"
    if isinstance(error, SMTPResponseException):
        answer = f"{error.code} {error.message}"
        is_permanent = error.code >= _PERMANENT and progress.stage in {"recipient", "content"}
        return MailRefused(answer) if is_permanent else MailDeferred(answer)
    return MailUncertain(answer) if progress.stage == "content" else MailDeferred(answer)


def _local_hostname() -> str:
    """Return this machine's host name without a DNS look-up, which can take seconds (getfqdn)."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
