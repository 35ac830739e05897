"""Create the mailer that the settings describe."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from portico.kit import Clock
from portico.kit.settings import SettingsError, is_loopback
from portico.services.notifications.mail.base import Address, BadMail, Mailer
from portico.services.notifications.mail.mailbox import Mailbox
from portico.services.notifications.settings import NotificationsSettings

if TYPE_CHECKING:
    from portico.kit import ServiceContext
    from portico.services.notifications.mail.smtp import Security, SmtpServer

_PORTS = {"tls": 465, "starttls": 587, "none": 25}


@asynccontextmanager
async def open_mailer(context: "ServiceContext") -> AsyncIterator[Mailer]:
    """Open the service's mailer and add it to the health checks: `resources={Mailer: open_mailer}`.

    The service is ready without it, because mails wait until it works again. Raises SettingsError.
    """
    sender_name = context.system.name.replace("-", " ").capitalize()
    mailer = mailer_for(
        context.settings_of(NotificationsSettings),
        data_dir=context.settings.data_dir,
        sender_name=sender_name,
        clock=context.clock,
    )
    context.health.add("mail", mailer.check, critical=False)
    try:
        yield mailer
    finally:
        await mailer.aclose()


def mailer_for(
    settings: NotificationsSettings, *, data_dir: Path, sender_name: str, clock: Clock | None = None
) -> Mailer:
    """Return an SMTP mailer if `SMTP_URL` is set, otherwise a mailbox under `DATA_DIR`.

    Args:
        settings: the settings of notifications.
        data_dir: the directory that contains the mailbox.
        sender_name: the sender's display name if NOTIFICATIONS_MAIL_FROM is not set.
        clock: the time.

    Raises:
        SettingsError: an address is invalid, or the password would be sent without encryption.
    """
    if settings.smtp_url is None:
        sender = settings.mail_from or f"{sender_name} <no-reply@portico.example>"
        return Mailbox(data_dir / "mailbox", _sender(sender), keep=settings.mailbox_limit, clock=clock)
    if settings.mail_from is None:
        raise SettingsError(
            "SMTP_URL is set but NOTIFICATIONS_MAIL_FROM is not. Set NOTIFICATIONS_MAIL_FROM to the sender, such as Shop <shop@shop.example>."
        )
    from portico.services.notifications.mail.smtp import SmtpMailer  # importing its driver is slow

    return SmtpMailer(
        smtp_server(settings, settings.smtp_url),
        _sender(settings.mail_from),
        limit=settings.smtp_timeout,
        connections=settings.smtp_connections,
    )


def smtp_server(settings: NotificationsSettings, url: str) -> "SmtpServer":
    """Parse the server from `url`. Raises SettingsError."""
    from portico.services.notifications.mail.smtp import SmtpServer

    try:
        parts = urlsplit(url)
        host, given_port = parts.hostname, parts.port
    except ValueError:
        parts, host, given_port = urlsplit(""), None, None
    if host is None:
        # The URL is not repeated in the message, because it may contain a password.
        raise SettingsError(
            "SMTP_URL is invalid. Expected smtp://user:password@host:587 with a percent-encoded password."
        )
    security = _security(settings, parts.scheme, host)
    password = unquote(parts.password) if parts.password is not None else None
    if password is not None and security == "none" and not is_loopback(host):
        raise SettingsError(
            "SMTP_URL contains a password, and NOTIFICATIONS_SMTP_STARTTLS=never would send it unencrypted. Remove NOTIFICATIONS_SMTP_STARTTLS."
        )
    return SmtpServer(
        host=host,
        port=given_port or _PORTS[security],
        security=security,
        username=unquote(parts.username) if parts.username else None,
        password=password,
    )


def _security(settings: NotificationsSettings, scheme: str, host: str) -> "Security":
    if scheme == "smtps":
        return "tls"
    if settings.smtp_starttls is None:
        return "none" if is_loopback(host) else "starttls"
    return "starttls" if settings.smtp_starttls == "required" else "none"


def _sender(text: str) -> Address:
    try:
        return Address.parse(text)
    except BadMail as error:
        raise SettingsError(
            f"NOTIFICATIONS_MAIL_FROM={text} is invalid ({error}). Expected an address such as Shop <shop@shop.example>."
        ) from error
