"""Which two spellings of an email address are the same account.

An address is compared by its key: compatibility forms and case folded (NFKC, casefold), the domain in its ASCII form
(IDNA), look-alike letters of other alphabets replaced by the Latin ones they pass for. A local part that mixes
alphabets is refused (Unicode TR 39, "single script"): nobody's address does, and every forgery of one has to, or is
caught by the key.
"""

import unicodedata
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from email_validator import EmailNotValidError, validate_email

from portico.services.identity.users.errors import EmailInvalid

LONGEST_KEY: Final = 320
LONGEST_EMAIL: Final = 254  # RFC 5321 section 4.5.3.1.3
_CYRILLIC: Final = dict(zip("аԁеһіјӏорсԛѕԝхуѵгкԍ", "adehijlopcqswxyvrkg", strict=True))
_GREEK: Final = dict(zip("αικνορτυχγ", "aikvoptuxy", strict=True))
_LATIN: Final = {"ı": "i", "ɑ": "a", "ɡ": "g", "ɩ": "i", "ʋ": "v", "ƽ": "s"}  # noqa: RUF001  that they look alike is the point
_LOOK_ALIKES: Final = str.maketrans(_CYRILLIC | _GREEK | _LATIN)
_WRITTEN_TOGETHER: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "KATAKANA-HIRAGANA"})


@dataclass(frozen=True, slots=True)
class Email:
    """An address as its owner writes it, and the `key` by which it is the same as other spellings."""

    address: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address. Raises EmailInvalid."""
        composed = unicodedata.normalize("NFKC", text.strip())
        if len(composed) > LONGEST_EMAIL:
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
        if len(scripts(local)) > 1:
            raise EmailInvalid(reason="it mixes letters of different alphabets")
        key = f"{local.translate(_LOOK_ALIKES)}@{(found.ascii_domain or found.domain).lower()}"
        if len(key) > LONGEST_KEY:
            raise EmailInvalid(reason="it is too long")
        return cls(found.normalized, key)


def key_of(text: str) -> str | None:
    """The key of an address that someone signs in with; None for what can't be one."""
    try:
        return Email.parse(text).key
    except EmailInvalid:
        return None


def scripts(text: str) -> set[str]:
    """The alphabets that the letters of `text` belong to; those that one language writes together count as one."""
    found = {unicodedata.name(letter, "UNKNOWN").partition(" ")[0] for letter in text if letter.isalpha()}
    return {"EAST ASIAN" if script in _WRITTEN_TOGETHER else script for script in found}


def _folded(text: str) -> str:
    # Folding can undo composition and the other way round: once more of each reaches a form that stays.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text


def _reason(error: EmailNotValidError) -> str:
    words = str(error).rstrip(".")
    return words[:1].lower() + words[1:]


@dataclass(frozen=True, slots=True)
class Names:
    """What a person is called, and where it is reached besides by email."""

    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None

    @property
    def joined(self) -> str | None:
        """First and last name as one."""
        return " ".join(part for part in (self.first_name, self.last_name) if part) or None

    def completed(self) -> "Names":
        """With `name` joined from the first and last where it is not given."""
        return self if self.name else replace(self, name=self.joined)

    def changed(self, given: dict[str, Any]) -> "Names":
        """With the members in `given` changed. A name that was joined follows its parts."""
        changed = replace(self, **given)
        if "name" not in given and self.name == self.joined:
            changed = replace(changed, name=None)
        return changed.completed()
