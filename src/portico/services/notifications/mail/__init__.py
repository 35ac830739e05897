"""Mail that goes out: to a mailbox in a folder, or to a server by SMTP."""

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
