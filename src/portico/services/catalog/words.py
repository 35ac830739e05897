"""Words of the product search index."""

import re
from collections.abc import Iterable

from portico.kit.foundation import CJK, FLAG_LETTERS, SYMBOLS, blank_separators, fold

MAX_WORD_LENGTH = 40
MAX_WORDS = 400

_ASCII_WORDS = re.compile(r"[0-9a-z]+[+#]*")
_WORDS = re.compile(rf"[{CJK}]+|[{FLAG_LETTERS}]{{1,2}}|[{SYMBOLS}]|[^\s+#{CJK}{FLAG_LETTERS}{SYMBOLS}]+[+#]*")
_STARTS_WITH_CJK = re.compile(f"[{CJK}]")


def words_of(*texts: str) -> list[str]:
    """Return up to MAX_WORDS different words of `texts` for the index, in order of appearance.

    A word is a run of letters, digits and marks, cut to MAX_WORD_LENGTH: "ABC-12" has the words "abc" and "12". "C++" has
    the words "c" and "c++". An emoji is a word. Chinese, Japanese and Korean are written without spaces or with endings
    after the word: each character and each pair of neighbours is a word.
    """
    return _distinct((word for text in texts for run in _runs(text) for word in _indexed(run)), MAX_WORDS)


def search_words(text: str, *, limit: int) -> list[str]:
    """Return up to `limit` words that a product must have to match the search `text`.

    Of Chinese, Japanese and Korean, they are the fewest pairs that cover all characters.
    """
    return _distinct((word for run in _runs(text) for word in _searched(run)), limit)


def _distinct(words: Iterable[str], limit: int) -> list[str]:
    found: dict[str, None] = {}
    for word in words:
        found[word[:MAX_WORD_LENGTH]] = None
        if len(found) == limit:
            break
    return list(found)


def _runs(text: str) -> list[str]:
    folded = fold(text)
    return _ASCII_WORDS.findall(folded) if folded.isascii() else _WORDS.findall(blank_separators(folded))


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
