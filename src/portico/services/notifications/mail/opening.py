"""The mailer that the settings ask for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from portico.kit.foundation.clock import Clock
from portico.kit.settings import Settings, SettingsError, is_loopback
from portico.services.notifications.mail.base import Address, BadMail, Mailer
from portico.services.notifications.mail.mailbox import Mailbox

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime
    from portico.services.notifications.mail.smtp import Security, SmtpServer

_PORTS = {"tls": 465, "starttls": 587, "none": 25}


@asynccontextmanager
async def open_mail(context: "ServiceRuntime") -> AsyncIterator[Mailer]:
    """The mailer of a service, watched by its health: `Service(…, resources={Mailer: open_mail})`. Raises SettingsError.

    Without its mailer a service is ready all the same: mails wait.
    """
    called = context.system.name.replace("-", " ").capitalize()
    mailer = mailer_for(context.settings, called=called, clock=context.clock)
    context.health.add("mail", mailer.check, critical=False)
    try:
        yield mailer
    finally:
        await mailer.aclose()


def mailer_for(settings: Settings, *, called: str, clock: Clock | None = None) -> Mailer:
    """The mailer: by SMTP where `SMTP_URL` is set, else a mailbox under `DATA_DIR`.

    Args:
        settings: The kit's.
        called: Whom mails are from where MAIL_FROM does not say.
        clock: The time.

    Raises:
        SettingsError: an address that can't be used, or a password that would be sent for all to read.
    """
    if settings.smtp_url is None:
        sender = settings.mail_from or f"{called} <no-reply@portico.example>"
        return Mailbox(settings.data_dir / "mailbox", _sender(sender), keep=settings.mailbox_limit, clock=clock)
    if settings.mail_from is None:
        raise SettingsError(
            "MAIL_FROM is not set, and SMTP_URL is: say whom mails are from, as in Shop <shop@shop.example>"
        )
    from portico.services.notifications.mail.smtp import SmtpMailer  # its driver takes a while to import

    return SmtpMailer(
        smtp_server(settings, settings.smtp_url),
        _sender(settings.mail_from),
        limit=settings.smtp_timeout,
        connections=settings.smtp_connections,
    )


def smtp_server(settings: Settings, url: str) -> "SmtpServer":
    """The server that `url` names. Raises SettingsError."""
    from portico.services.notifications.mail.smtp import SmtpServer

    try:
        parts = urlsplit(url)
        host, given_port = parts.hostname, parts.port
    except ValueError:
        parts, host, given_port = urlsplit(""), None, None
    if host is None:
        # The address is not repeated: there may be a password in it.
        raise SettingsError(
            "SMTP_URL can't be read: write smtp://user:password@host:587, the password percent-encoded."
        )
    security = _security(settings, parts.scheme, host)
    password = unquote(parts.password) if parts.password is not None else None
    if password is not None and security == "none" and not is_loopback(host):
        raise SettingsError(
            "SMTP_URL has a password in it, and SMTP_STARTTLS=never would send it for all to read: leave SMTP_STARTTLS out."
        )
    return SmtpServer(
        host=host,
        port=given_port or _PORTS[security],
        security=security,
        username=unquote(parts.username) if parts.username else None,
        password=password,
    )


def _security(settings: Settings, scheme: str, host: str) -> "Security":
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
            f"MAIL_FROM={text} can't be used ({error}): write an address such as Shop <shop@shop.example>."
        ) from error
