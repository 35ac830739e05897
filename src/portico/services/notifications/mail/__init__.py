"""Outgoing mail: by SMTP, or into a mailbox folder when no mail server is configured."""

from portico.services.notifications.mail.base import (
    Address,
    BadMail,
    Mail,
    MailDeferred,
    Mailer,
    MailFailed,
    MailId,
    MailRefused,
    MailUncertain,
)

__all__ = [
    "Address",
    "BadMail",
    "Mail",
    "MailDeferred",
    "MailFailed",
    "MailId",
    "MailRefused",
    "MailUncertain",
    "Mailer",
]
