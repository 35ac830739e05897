import unicodedata
from dataclasses import dataclass
from typing import Final

SHORTEST: Final = 8
LONGEST: Final = 128


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right; `new_hash` replaces a hash that is right but outdated."""

    right: bool
    new_hash: str | None = None


def normalized(password: str) -> str:
    """The password in Unicode's composed form, so that each keyboard's way to an é gives the same hash (RFC 8265)."""
    return unicodedata.normalize("NFC", password)
