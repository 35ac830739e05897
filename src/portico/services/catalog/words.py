"""Words of the product search index, and the sort key of names."""

import re
import unicodedata
from collections.abc import Iterable

LONGEST_WORD = 40
MOST_WORDS = 400

_CJK = "\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
_FLAG_LETTERS = "\U0001f1e6-\U0001f1ff"
_SYMBOLS = "\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001faff"  # emoji and their like
# Accents, and what a reader does not see (Unicode: Default_Ignorable_Code_Point). U+200B stays: it separates words.
_IGNORED = re.compile(
    "[\u00ad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    "\ufeff\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_ASCII_WORDS = re.compile(r"[0-9a-z]+[+#]*")
_WORDS = re.compile(rf"[{_CJK}]+|[{_FLAG_LETTERS}]{{1,2}}|[{_SYMBOLS}]|[^\s+#{_CJK}{_FLAG_LETTERS}{_SYMBOLS}]+[+#]*")
_STARTS_WITH_CJK = re.compile(f"[{_CJK}]")
_IS_SYMBOL = re.compile(f"[{_FLAG_LETTERS}{_SYMBOLS}]")
_CACHED_BELOW = 0x3000


class _Separators(dict[int, str]):
    """Table for str.translate: characters that belong to no word become spaces."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        is_kept = letter.isalnum() or letter in "+#" or unicodedata.category(letter).startswith("M")
        mapped = letter if is_kept or _IS_SYMBOL.match(letter) else " "
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


def words_of(*texts: str) -> list[str]:
    """Return up to MOST_WORDS different words of `texts` for the index, in order of appearance.

    A word is a run of letters, digits and marks, cut to LONGEST_WORD: "ABC-12" has the words "abc" and "12". "C++" has
    the words "c" and "c++". An emoji is a word. Chinese, Japanese and Korean are written without spaces or with endings
    after the word: each character and each pair of neighbours is a word.
    """
    return _distinct((word for text in texts for run in _runs(text) for word in _indexed(run)), MOST_WORDS)


def search_words(text: str, *, limit: int) -> list[str]:
    """Return up to `limit` words that a product must have to match the search `text`.

    Of Chinese, Japanese and Korean, they are the fewest pairs that cover all characters.
    """
    return _distinct((word for run in _runs(text) for word in _searched(run)), limit)


def _distinct(words: Iterable[str], limit: int) -> list[str]:
    found: dict[str, None] = {}
    for word in words:
        found[word[:LONGEST_WORD]] = None
        if len(found) == limit:
            break
    return list(found)


def _runs(text: str) -> list[str]:
    folded = fold(text)
    return _ASCII_WORDS.findall(folded) if folded.isascii() else _WORDS.findall(folded.translate(_separators))


def _indexed(run: str) -> Iterable[str]:
    if _STARTS_WITH_CJK.match(run):
        return [run[start : start + length] for start in range(len(run)) for length in (1, 2)]
    return _with_suffix(run)


def _searched(run: str) -> Iterable[str]:
    if len(run) > 1 and _STARTS_WITH_CJK.match(run):
        last = len(run) - 2
        return [run[start : start + 2] for start in (*range(0, last, 2), last)]
    return _with_suffix(run)


def _with_suffix(run: str) -> Iterable[str]:
    """Return the word, and the word with its suffix: "c" and "c++"."""
    return (run.rstrip("+#"), run) if run[-1] in "+#" else (run,)
