"""What a mail is, who takes one, and how that can fail.

MailFailed
├── MailDeferred   it was not taken, and may be later: the server is away, busy or does not let us in
├── MailRefused    it was not taken and never will be
└── MailUncertain  the connection was lost while it was handed over: it may have been taken
"""

import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from email.utils import parseaddr
from typing import Self

from email_validator import EmailNotValidError, validate_email

from portico.kit.foundation.ids import Identifier

LARGEST = 1 << 20  # bytes of text and HTML together; servers refuse mails of tens of megabytes, and people much less
LONGEST_SUBJECT = 400  # characters
LONGEST_NAME = 600  # of a person
LONGEST_ANSWER = 500  # of a server

_BREAKING = {"Cc", "Zl", "Zp", "Cs"}  # control characters, line and paragraph separators, halves of a character


class BadMail(ValueError):
    """This can't be sent as a mail, whoever takes it."""


class MailFailed(Exception):
    """A mail was not handed over. `answer` is what the one who was to take it said, in one line."""

    def __init__(self, answer: str) -> None:
        self.answer = in_one_line(answer)[:LONGEST_ANSWER]
        super().__init__(self.answer)


class MailDeferred(MailFailed):
    """It was not taken, for a reason that may pass."""


class MailRefused(MailFailed):
    """It was not taken, and the same again would not be."""


class MailUncertain(MailFailed):
    """Whether it was taken is not known; sent again, its Message-ID tells that it is the same."""


class MailId(Identifier, prefix="mail"):
    """A mail, however often it is handed over: the local part of its Message-ID."""


@dataclass(frozen=True, slots=True)
class Address:
    """Whom a mail is for or from.

    Args:
        email: the domain in its ASCII form (IDNA); the local part may have other letters (RFC 6531).
        name: of the person, may be empty.

    Raises:
        BadMail: this is no address, or a line break or another control character is in it.
    """

    email: str
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.name) > LONGEST_NAME or breaks_lines(self.name):
            raise BadMail("a name in a mail is one short line")
        try:
            # Names that DNS does not know are let be: a company's own mail server does.
            found = validate_email(
                self.email, check_deliverability=False, globally_deliverable=False, test_environment=True, strict=True
            )
        except EmailNotValidError as error:
            raise BadMail(f"no email address: {error}") from error
        object.__setattr__(self, "email", f"{found.local_part}@{found.ascii_domain or found.domain}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`shop@example.com` or `The Shop <shop@example.com>`. Raises BadMail."""
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
        """Whether only servers with SMTPUTF8 (RFC 6531) can take mail for it."""
        return not self.email.isascii()


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one person.

    Args:
        mail_id: stays the same however often it is handed over.
        to: one address: of several, some could be refused, and each would see the others.
        subject: one line.
        text: the body for who reads plain text.
        html: the same for who reads HTML, None where there is none.
        written_at: its Date; stays the same too.

    Raises:
        BadMail: the subject is empty, too long or has a line break in it, or the bodies are too large.
    """

    mail_id: MailId
    to: Address
    subject: str
    text: str
    html: str | None
    written_at: datetime

    def __post_init__(self) -> None:
        if not 0 < len(self.subject) <= LONGEST_SUBJECT or breaks_lines(self.subject):
            raise BadMail("the subject of a mail is one short line")
        if len(self.text.encode()) + len((self.html or "").encode()) > LARGEST:
            raise BadMail(f"a mail has at most {LARGEST} bytes")


class Mailer(ABC):
    """Takes mails."""

    sender: Address
    """whom mails are from"""
    limit: float
    """seconds that `send` takes at most"""

    @abstractmethod
    async def send(self, mail: Mail) -> str:
        """Hand `mail` over; what the one who took it said. Raises MailFailed."""

    @abstractmethod
    async def check(self) -> None:
        """Raise MailFailed unless mails would be taken; for health answers."""

    @abstractmethod
    async def aclose(self) -> None:
        """Give back what it holds."""


def breaks_lines(text: str) -> bool:
    """Whether `text` has characters that could end a header, or hide what it says."""
    return any(unicodedata.category(character) in _BREAKING for character in text)


def in_one_line(text: str) -> str:
    """`text` with every run of spaces, line breaks and other control characters made one space."""
    plain = "".join(" " if unicodedata.category(each) in _BREAKING else each for each in text)
    return " ".join(plain.split())
