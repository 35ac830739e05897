"""Words of the product search index, and the sort key of names."""

import re
import unicodedata
from collections.abc import Iterable

LONGEST_WORD = 40
MOST_WORDS = 400

_ACCENTS = re.compile("[\u0300-\u036f]")
_ASCII_WORDS = re.compile("[0-9a-z]+")
_CACHED_BELOW = 0x3000


class _Separators(dict[int, str]):
    """Table for str.translate: characters outside words become spaces; ideographs are surrounded by spaces."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        category = unicodedata.category(letter)
        if category == "Lo" and _is_ideograph(code):
            mapped = f" {letter} "  # ideographs are written without spaces: each is a word
        else:
            mapped = letter if letter.isalnum() or category.startswith("M") else " "
        if code < _CACHED_BELOW:
            self[code] = mapped
        return mapped


def _is_ideograph(code: int) -> bool:
    return 0x2E80 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF  # noqa: PLR2004  Unicode's blocks of CJK and kana


_separators = _Separators()


def fold(text: str) -> str:
    """Return `text` without differences of case, accents, width and ligatures (Unicode NFKD, UAX 15)."""
    if text.isascii():
        return text.lower()
    # Case folding comes first: it turns the combining iota (U+0345) into a letter, so that it is not removed as an accent.
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return unicodedata.normalize("NFC", bare.casefold())


def words_of(*texts: str, limit: int = MOST_WORDS) -> list[str]:
    """Return up to `limit` different folded words of `texts` in order of appearance, each cut to LONGEST_WORD.

    A word is a run of letters, digits and marks: "ABC-12" has the words "abc" and "12".
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
