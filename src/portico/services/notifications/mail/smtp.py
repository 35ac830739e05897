"""Mail by SMTP (RFC 5321), submitted to a server that delivers it."""

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
)
from portico.services.notifications.mail.message import as_bytes

Security = Literal["tls", "starttls", "none"]

_FOR_GOOD = 500  # RFC 5321 section 4.2.1: replies from 500 on mean that the same again will fail the same
_IDLE = 20.0  # seconds after which a connection is not used again: servers end idle ones, and tell nobody
_PARTING = 2.0  # seconds that a server has to answer QUIT

_BROKEN = (SMTPException, OSError)  # a time-out is an OSError, and so is a certificate that nobody trusts


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is submitted.

    Args:
        host: its name; with TLS its certificate has to be for it.
        port: usually 587 for STARTTLS, 465 for TLS from the first byte.
        security: how the connection is kept from others' eyes.
        username: with which to sign in there; None where it asks nobody.
        password: likewise.
    """

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class SmtpMailer(Mailer):
    """Submits mails to one server, over connections that are used again while they are fresh.

    Args:
        server: where to.
        sender: whom mails are from.
        limit: seconds that handing over one mail takes at most.
        connections: at a time, at most; a mail waits for a free one.
        tls: whom to trust; the system's certificates by default.
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
        self._free = asyncio.Semaphore(connections)
        self._idle: list[tuple[SMTP, float]] = []

    async def send(self, mail: Mail) -> str:
        progress = _Progress()
        async with self._free:
            try:
                async with asyncio.timeout(self.limit), self._connection(progress) as client:
                    return await self._submit(client, mail, progress)
            except _BROKEN as error:
                raise _meaning(error, progress) from error

    async def check(self) -> None:
        """Raise MailDeferred unless the server greets, and lets in who has a password."""
        progress = _Progress()
        async with self._free:
            try:
                async with asyncio.timeout(self.limit), self._connection(progress) as client:
                    await client.noop()
            except _BROKEN as error:
                raise _meaning(error, progress) from error

    async def aclose(self) -> None:
        """Take leave of the server."""
        while self._idle:
            client, _ = self._idle.pop()
            with suppress(SMTPException, OSError):  # it is gone already, which is what is wanted
                await client.quit(timeout=_PARTING)
            client.close()

    async def _submit(self, client: SMTP, mail: Mail, progress: "_Progress") -> str:
        international = mail.to.is_international or self.sender.is_international
        if international and not client.supports_extension("smtputf8"):
            raise MailRefused(f"{self.server.host} takes no mail for addresses beyond ASCII (no SMTPUTF8)")
        message = await asyncio.to_thread(as_bytes, mail, self.sender)  # a large one takes a while
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
        """A connection, kept for the next mail unless something goes wrong: nothing half done is left on it."""
        client = await self._fresh_idle() or await self._connected()
        progress.stage = "sender"
        try:
            yield client
        except BaseException:
            client.close()
            raise
        self._idle.append((client, time.monotonic()))

    async def _fresh_idle(self) -> SMTP | None:
        """A connection that was used a moment ago and still answers."""
        while self._idle:
            client, since = self._idle.pop()
            if client.is_connected and time.monotonic() - since < _IDLE:
                with suppress(SMTPException, OSError):  # the server ended it: a new one is made
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
            local_hostname=_own_name(),
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
    """How far handing over has come: who a refusal is about depends on it."""

    stage: Literal["connection", "sender", "recipient", "content"] = "connection"


def _meaning(error: Exception, progress: _Progress) -> MailFailed:
    """What a failure says about the mail.

    Only a definite reply to the recipient or to the content is about this mail. A refused sign-in or sender is about the
    settings, which somebody mends: mails wait for it. Once the content was begun, silence says nothing.
    """
    told = str(error) or "the server did not answer in time"
    if isinstance(error, SMTPResponseException):
        told = f"{error.code} {error.message}"
        for_good = error.code >= _FOR_GOOD and progress.stage in {"recipient", "content"}
        return MailRefused(told) if for_good else MailDeferred(told)
    return MailUncertain(told) if progress.stage == "content" else MailDeferred(told)


def _own_name() -> str:
    """What this machine calls itself; asking DNS for more, as getfqdn does, can take many seconds."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
