"""A mail as RFC 5322 and MIME write it."""

from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from portico.services.notifications.mail.base import Address, Mail

# Everything but headers of addresses that have to is ASCII: no server needs 8BITMIME for it.
_POLICY = SMTP.clone(cte_type="7bit", max_line_length=78)


def message_id(mail: Mail, sender: Address) -> str:
    """The Message-ID (RFC 5322 section 3.6.4): the same each time, so that who gets the mail twice can tell."""
    return f"<{mail.mail_id}@{sender.domain}>"


def as_bytes(mail: Mail, sender: Address) -> bytes:
    """The whole message, lines ended by CRLF; the same bytes each time, but for the boundary between its parts."""
    international = mail.to.is_international or sender.is_international
    message = EmailMessage(_POLICY.clone(utf8=international))
    message["From"] = _header(sender)
    message["To"] = _header(mail.to)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.written_at)
    message["Message-ID"] = message_id(mail, sender)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
    message.set_content(mail.text, cte="quoted-printable")
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    return message.as_bytes()


def _header(address: Address) -> HeaderAddress:
    return HeaderAddress(address.name, address.local_part, address.domain)
