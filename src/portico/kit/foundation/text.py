"""Text in any script: characters that a line must not contain, and the words that search compares."""

import re
import unicodedata
from typing import Final

NOT_IN_A_LINE: Final = r"\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069"
"""Characters that text of one line must not contain. Schemas reject them, and mails leave them out.

Ranges of a regular expression: control characters, line and paragraph separators, bidirectional overrides and isolates.

The last ones (UAX 9) reorder the text around them: a reader would see something else than what is stored.
"""


CJK: Final = (
    "\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
"""Ranges of a regular expression: Chinese, Japanese and Korean, written without spaces or with endings after the word."""
FLAG_LETTERS: Final = "\U0001f1e6-\U0001f1ff"
SYMBOLS: Final = "\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001faff"
"""Ranges of a regular expression: emoji and their like."""
# Accents, and what a reader does not see (Unicode: Default_Ignorable_Code_Point). U+200B stays: it separates words.
_IGNORED = re.compile(
    "[\u00ad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    "\ufeff\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_IS_SYMBOL = re.compile(f"[{FLAG_LETTERS}{SYMBOLS}]")
_CACHED_BELOW = 0x3000


class _Separators(dict[int, str]):
    """Table for str.translate: characters that belong to no word become spaces."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        is_kept = letter.isalnum() or letter in "+#" or unicodedata.category(letter).startswith("M")
        mapped = letter if is_kept or _IS_SYMBOL.match(letter) or _IGNORED.match(letter) else " "
        if code < _CACHED_BELOW:
            self[code] = mapped
        return mapped


_separators = _Separators()


def fold(text: str) -> str:
    """Return `text` without differences of case, accents, width, ligatures and invisible characters (NFKD, UAX 15)."""
    if text.isascii():
        return text.lower()
    # Case folding comes first: it turns the combining iota (U+0345) into a letter, so that it is not removed as an accent.
    bare = _IGNORED.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return unicodedata.normalize("NFC", bare.casefold())


def blank_separators(text: str) -> str:
    """Return `text` with a space for each character that belongs to no word. `+` and `#` stay, as in "C++"."""
    return text.translate(_separators)
