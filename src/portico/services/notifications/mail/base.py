"""Mails, the mailer interface and its errors, and mails as RFC 5322 and MIME messages.

MailFailed
├── MailDeferred   a temporary failure: the server is down, busy or rejects our credentials
├── MailRefused    a permanent failure: the server rejects this mail
└── MailUncertain  the connection was lost during the transfer: the server may have accepted the mail
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Self

from email_validator import EmailNotValidError, validate_email

from portico.kit import Identifier
from portico.kit.foundation import NOT_IN_A_LINE

MAX_MAIL_BYTES = 1 << 20  # bytes of text and HTML together
MAX_SUBJECT_LENGTH = 400  # characters
MAX_NAME_LENGTH = 600  # of a recipient
MAX_RESPONSE_LENGTH = 500  # of a server's answer

CONFIDENTIAL = "Private"
"""Value of the header Sensitivity (RFC 4021 section 2.1.55) in mails that only the recipient may read."""

# Everything is ASCII except address headers that cannot be, so that servers without 8BITMIME accept it.
_POLICY = SMTP.clone(cte_type="7bit", max_line_length=78)
_BREAKING = re.compile(f"[{NOT_IN_A_LINE}\\ud800-\\udfff]")  # the last range are surrogates


class BadMail(ValueError):
    """The mail is invalid and cannot be sent by any mailer."""


class MailFailed(Exception):
    """A mail was not delivered. `answer` is the server's answer in one line."""

    def __init__(self, answer: str) -> None:
        self.answer = in_one_line(answer)[:MAX_RESPONSE_LENGTH]
        super().__init__(self.answer)


class MailDeferred(MailFailed):
    """The mail was rejected for a temporary reason."""


class MailRefused(MailFailed):
    """The mail was rejected permanently."""


class MailUncertain(MailFailed):
    """It is unknown whether the mail was accepted. Another attempt has the same Message-ID."""


class MailId(Identifier, prefix="mail"):
    """Identifies a mail across attempts: the local part of its Message-ID."""


@dataclass(frozen=True, slots=True)
class Address:
    """A sender or recipient.

    Args:
        email: the domain is stored in ASCII (IDNA); the local part may be international (RFC 6531).
        name: the display name; may be empty.

    Raises:
        BadMail: the address is invalid, or it contains a line break or another control character.
    """

    email: str
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME_LENGTH or breaks_lines(self.name):
            raise BadMail("the display name must be one short line")
        try:
            # Domains unknown to public DNS are valid: a company's own mail server resolves them.
            found = validate_email(
                self.email, check_deliverability=False, globally_deliverable=False, test_environment=True, strict=True
            )
        except EmailNotValidError as error:
            raise BadMail(f"invalid email address: {error}") from error
        object.__setattr__(self, "email", f"{found.local_part}@{found.ascii_domain or found.domain}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `shop@example.com` or `The Shop <shop@example.com>`. Raises BadMail."""
        name, email = parseaddr(text)
        return cls(email, name)

    @property
    def local_part(self) -> str:
        return self.email.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.email.rpartition("@")[2]

    @property
    def is_international(self) -> bool:
        """Whether the server needs SMTPUTF8 (RFC 6531) for this address."""
        return not self.email.isascii()


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one recipient.

    Args:
        mail_id: the same for every attempt.
        to: a single address: with several, the server could reject some, and each would see the others.
        subject: one line.
        text: the plain text body.
        html: the HTML body, or None.
        written_at: the Date header; the same for every attempt.
        is_confidential: whether the bodies have a secret of the recipient, which staff may not read.

    Raises:
        BadMail: the subject is empty, too long or has a line break, or the bodies are too large.
    """

    mail_id: MailId
    to: Address
    subject: str
    text: str
    html: str | None
    written_at: datetime
    is_confidential: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.subject) <= MAX_SUBJECT_LENGTH or breaks_lines(self.subject):
            raise BadMail("the subject must be one short line")
        if len(self.text.encode()) + len((self.html or "").encode()) > MAX_MAIL_BYTES:
            raise BadMail(f"the bodies exceed {MAX_MAIL_BYTES} bytes")


class Mailer(ABC):
    """Sends mails."""

    sender: Address
    """The From address of all mails."""
    limit: float
    """The longest time (seconds) that `send` may take."""
    concurrency: int
    """How many mails may be sent at once."""

    @abstractmethod
    async def send(self, mail: Mail) -> str:
        """Send `mail` and return the server's answer. Raises MailFailed."""

    @abstractmethod
    async def check(self) -> None:
        """Raise MailFailed unless mails can be sent; used by health checks."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections."""


def breaks_lines(text: str) -> bool:
    """Whether `text` contains characters that could end a header or hide its content."""
    return _BREAKING.search(text) is not None


def in_one_line(text: str) -> str:
    """Return `text` with each run of white space and control characters replaced by one space."""
    return " ".join(_BREAKING.sub(" ", text).split())


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
