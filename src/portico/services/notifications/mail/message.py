"""Mails as RFC 5322 and MIME messages."""

from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from portico.services.notifications.mail.base import Address, Mail

# Everything is ASCII except address headers that cannot be, so that servers without 8BITMIME accept it.
_POLICY = SMTP.clone(cte_type="7bit", max_line_length=78)

CONFIDENTIAL = "Private"
"""Value of the header Sensitivity (RFC 4021 section 2.1.55) in mails that only the recipient may read."""


def message_id(mail: Mail, sender: Address) -> str:
    """Return the Message-ID (RFC 5322 section 3.6.4). It is the same for every attempt, so that duplicates can be detected."""
    return f"<{mail.mail_id}@{sender.domain}>"


def as_bytes(mail: Mail, sender: Address) -> bytes:
    """Return the message with CRLF line ends. Only the MIME boundary differs between two calls."""
    international = mail.to.is_international or sender.is_international
    message = EmailMessage(_POLICY.clone(utf8=international))
    message["From"] = _header(sender)
    message["To"] = _header(mail.to)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.written_at)
    message["Message-ID"] = message_id(mail, sender)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: keeps automatic replies from answering
    if mail.is_confidential:
        message["Sensitivity"] = CONFIDENTIAL
    message.set_content(mail.text, cte="quoted-printable")
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    return message.as_bytes()


def _header(address: Address) -> HeaderAddress:
    return HeaderAddress(address.name, address.local_part, address.domain)
