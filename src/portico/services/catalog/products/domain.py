"""The words by which products are found, and the order of their names."""

import re
import unicodedata
from collections.abc import Iterable

LONGEST_WORD = 40
MOST_WORDS = 400

_ACCENTS = re.compile("[\u0300-\u036f]")
_ASCII_WORDS = re.compile("[0-9a-z]+")
_LAST_REMEMBERED = 0x3000


class _Separators(dict[int, str]):
    """For str.translate: characters that are part of no word become spaces, and those that are words alone get some."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        category = unicodedata.category(letter)
        if category == "Lo" and _is_ideograph(code):
            kept = f" {letter} "  # written without spaces: each is a word
        else:
            kept = letter if letter.isalnum() or category.startswith("M") else " "
        if code < _LAST_REMEMBERED:
            self[code] = kept
        return kept


def _is_ideograph(code: int) -> bool:
    return 0x2E80 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF  # noqa: PLR2004  Unicode's blocks of CJK and kana


_separators = _Separators()


def fold(text: str) -> str:
    """`text` without the differences that a reader passes over: case, accents, width, ligatures (Unicode NFKD, UAX 15)."""
    if text.isascii():
        return text.lower()
    # Case first: of an iota below a letter (U+0345) it makes a letter, which is no accent then.
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return unicodedata.normalize("NFC", bare.casefold())


def words_of(*texts: str, limit: int = MOST_WORDS) -> list[str]:
    """The different words of `texts`, folded, in order of appearance: `limit` at most, each cut to LONGEST_WORD.

    A word is a run of letters, digits and marks: "ABC-12" is the words abc and 12.
    """
    found: dict[str, None] = {}
    for text in texts:
        for word in _runs(fold(text)):
            found[word[:LONGEST_WORD]] = None
            if len(found) == limit:
                return list(found)
    return list(found)


def _runs(folded: str) -> Iterable[str]:
    return _ASCII_WORDS.findall(folded) if folded.isascii() else folded.translate(_separators).split()
