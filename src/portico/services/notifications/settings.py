from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from portico.kit import Seconds, ServiceSettings
from portico.kit.settings import NamesServer


def _smtp_url(text: Any) -> Any:
    if urlsplit(str(text)).scheme not in {"smtp", "smtps"}:
        raise ValueError("write an address such as smtp://user:password@host:587 (smtps:// for implicit TLS)")
    return text


_PAGE = r"^https?://[^\s{}]*\{token\}[^\s{}]*$"
SmtpUrl = Annotated[str, BeforeValidator(_smtp_url)]


class NotificationsSettings(ServiceSettings, env_prefix="NOTIFICATIONS_"):
    """Settings of notifications."""

    smtp_url: Annotated[SmtpUrl | None, NamesServer()] = Field(
        None,
        repr=False,
        validation_alias="SMTP_URL",
        description="SMTP server for outgoing mail: smtp://user:password@host:587 or smtps://; a mailbox directory in DATA_DIR "
        "if unset",
    )
    mail_from: str | None = Field(
        None, max_length=500, description="Sender of mails: Shop <shop@shop.example>; required with SMTP_URL"
    )
    smtp_starttls: Annotated[
        Literal["required", "never"] | None,
        BeforeValidator(lambda text: text.strip().lower() if isinstance(text, str) else text),
    ] = Field(
        None,
        description="Whether smtp:// must switch to TLS (STARTTLS); required if unset, except for a server on this machine",
    )
    smtp_timeout: Seconds = Field(
        30.0, gt=0, le=600, description="How long (seconds) the SMTP server may take to accept one mail"
    )
    smtp_connections: int = Field(4, ge=1, le=100, description="Concurrent connections to the SMTP server")
    mailbox_limit: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Mails kept in the mailbox directory in DATA_DIR; the oldest are deleted",
    )
    mail_attempts: int = Field(12, ge=1, le=100, description="Attempts to send a mail before it counts as failed")
    mail_retry_delay: Seconds = Field(
        5.0,
        ge=0.1,
        le=3600,
        description="Delay (seconds) before the first retry of a mail; quadruples with each further one",
    )
    mail_retry_limit: Seconds = Field(
        3600.0, ge=1, le=86_400, description="Maximum delay (seconds) between two attempts to send a mail"
    )
    password_reset_url: str | None = Field(
        None,
        pattern=_PAGE,
        description="Page that a mail to reset a password links to, with {token}: https://shop.example/reset?token={token}; the mail has "
        "the bare token if unset",
    )
    email_verification_url: str | None = Field(
        None,
        pattern=_PAGE,
        description="Page that a mail to verify an email address links to, with {token}; the mail has the bare token if unset",
    )
    recipient_timeout: Seconds = Field(
        3600.0, ge=1, le=604_800, description="How long (seconds) a mail waits until the recipient's address is known"
    )
    retention: Seconds = Field(
        7_776_000.0,
        ge=86_400,
        le=315_360_000,
        description="How long (seconds) sent and failed notifications are kept with their attempts; at least EVENT_RETENTION",
    )
