"""Email addresses and names.

Two spellings of an email address belong to the same account if they have the same key. The key folds compatibility
forms and case (NFKC, casefold), writes the domain in its ASCII form (IDNA) and replaces letters of other scripts by the
Latin letters that they look like. A local part that mixes scripts is rejected (Unicode TR 39, "highly restrictive"), so
that an address cannot imitate another one.
"""

import unicodedata
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from email_validator import EmailNotValidError, validate_email

from portico.services.identity.errors import EmailInvalid
from portico.services.identity.users.scripts import mixes_scripts

MIN_PASSWORD_LENGTH: Final = 8
MAX_PASSWORD_LENGTH: Final = 128
MAX_KEY_LENGTH: Final = 320
MAX_EMAIL_LENGTH: Final = 254  # RFC 5321 section 4.5.3.1.3
_CYRILLIC: Final = dict(zip("аԁеһіјӏорсԛѕԝхуѵгкԍ", "adehijlopcqswxyvrkg", strict=True))
_GREEK: Final = dict(zip("αικνορτυχγ", "aikvoptuxy", strict=True))
_LATIN: Final = {"ı": "i", "ɑ": "a", "ɡ": "g", "ɩ": "i", "ʋ": "v", "ƽ": "s"}  # noqa: RUF001  look-alike letters are intended
_LOOK_ALIKES: Final = str.maketrans(_CYRILLIC | _GREEK | _LATIN)


@dataclass(frozen=True, slots=True)
class Email:
    """An address as its owner writes it, and the key that all its spellings share."""

    address: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an address. Raises EmailInvalid."""
        composed = unicodedata.normalize("NFKC", text.strip())
        if len(composed) > MAX_EMAIL_LENGTH:
            raise EmailInvalid(reason="it is too long")
        try:
            found = validate_email(
                composed,
                check_deliverability=False,
                globally_deliverable=False,
                allow_smtputf8=True,
                test_environment=True,
                strict=True,
            )
        except EmailNotValidError as error:
            raise EmailInvalid(reason=_reason(error)) from error
        local = _folded(found.local_part)
        if mixes_scripts(local):
            raise EmailInvalid(reason="it mixes letters of different scripts")
        key = f"{local.translate(_LOOK_ALIKES)}@{(found.ascii_domain or found.domain).lower()}"
        if len(key) > MAX_KEY_LENGTH:
            raise EmailInvalid(reason="it is too long")
        return cls(found.normalized, key)


def key_of(text: str) -> str | None:
    """Return the key of an address, or None if `text` is not a valid address."""
    try:
        return Email.parse(text).key
    except EmailInvalid:
        return None


def _folded(text: str) -> str:
    # Case folding can undo composition and vice versa. A second pass reaches a stable form.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text


def _reason(error: EmailNotValidError) -> str:
    sentence = str(error).rstrip(".")
    return sentence[:1].lower() + sentence[1:]


@dataclass(frozen=True, slots=True)
class Names:
    """A person's names and phone number."""

    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None

    @property
    def joined(self) -> str | None:
        """First and last name, joined by a space."""
        return " ".join(part for part in (self.first_name, self.last_name) if part) or None

    def completed(self) -> "Names":
        """Return a copy whose `name` is joined from the first and last name if it is missing."""
        return self if self.name else replace(self, name=self.joined)

    def changed(self, given: dict[str, Any]) -> "Names":
        """Return a copy with the fields in `given` changed. A joined name follows its parts."""
        changed = replace(self, **given)
        if "name" not in given and self.name == self.joined:
            changed = replace(changed, name=None)
        return changed.completed()
