"""The query language of search: words, typos, ranking and highlights. Every index implements these rules."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Final, Literal, get_args

from portico.kit.foundation import CJK, FLAG_LETTERS, SYMBOLS, blank_separators, fold

Field = Literal["event_name", "venue_name", "description"]

FIELDS: Final[tuple[Field, ...]] = get_args(Field)
"""The searched fields, the most important one first."""
MAX_WORD_LENGTH: Final = 64  # letters
MAX_WORDS: Final = 2_000  # indexed words of a field
MAX_CANDIDATES: Final = 50  # words of the index that one misspelled word stands for
MAX_HIGHLIGHT_LENGTH: Final = 200  # letters of the text around the first match
_SECOND_TYPO: Final = 9
_FIRST_TYPO: Final = 5
_KEY_LETTERS: Final = 7  # letters of a word that its typo keys are made of
_WORDS = re.compile(rf"[{CJK}]+|[{FLAG_LETTERS}]{{1,2}}|[{SYMBOLS}]|[^\s+#{CJK}{FLAG_LETTERS}{SYMBOLS}]+")
_IS_CJK = re.compile(f"[{CJK}]")
_QUOTED = re.compile(r'"([^"]*)"')

Match = Literal["exact", "prefix", "phrase", "typo"]

LEVELS: Final = len(FIELDS)
"""Levels of a match: all terms in the name; in name and venue; in all fields."""
RELAXED: Final = 2 * LEVELS
"""Tier of a show that has some terms only; each of them with a typo adds one."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text, folded, and where it is."""

    word: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Return the words of `text` in order: runs of letters, digits and marks; each CJK character; each emoji."""
    found: list[Token] = []
    for run in _WORDS.finditer(blank_separators(text)):
        start, written = run.start(), run[0]
        if _IS_CJK.match(written):
            for place, character in enumerate(written, start):
                found.extend(_folded(character, place, place + 1))
        else:
            found.extend(_folded(written, start, run.end()))
        if len(found) >= MAX_WORDS:
            break
    return found[:MAX_WORDS]


def words_of(text: str) -> list[str]:
    """Return the folded words of `text` in order."""
    return [each.word for each in tokens(text)]


def _folded(written: str, start: int, end: int) -> Iterable[Token]:
    folded = fold(written)
    if folded.isalnum():
        return (Token(folded[:MAX_WORD_LENGTH], start, end),)
    # A character such as U+00BD (one half) becomes several words.
    parts = _WORDS.findall(blank_separators(folded))
    return [Token(part[:MAX_WORD_LENGTH], start, end) for part in parts]


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a query: one word, or several words that follow each other.

    is_prefix: whether the word may continue. It is the last one that was typed.
    is_exact: whether it was written in quotes: it may have no typos.
    """

    words: tuple[str, ...]
    is_prefix: bool = False
    is_exact: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def typos(self) -> int:
        """How many typos the term may have."""
        return 0 if self.is_exact or len(self.words) > 1 else typos_allowed(self.words[0])


def parse_query(text: str) -> tuple[Term, ...]:
    """Return the different terms of a query. Quotes that are not closed are ignored."""
    found: dict[Term, None] = {}
    place = 0
    for quoted in _QUOTED.finditer(text):
        found.update(dict.fromkeys(_plain_terms(text[place : quoted.start()])))
        if words := tuple(words_of(quoted[1])):
            found[Term(words, is_exact=True)] = None
        place = quoted.end()
    last = list(_plain_terms(text[place:]))
    if last and len(last[-1].words) == 1:
        last[-1] = Term(last[-1].words, is_prefix=True)
    found.update(dict.fromkeys(last))
    # "live live" is one term: with the prefix, the word itself need not match as well.
    return tuple(term for term in found if Term(term.words, is_prefix=True) not in found or term.is_prefix)


def _plain_terms(text: str) -> Iterable[Term]:
    """Return the terms of text without quotes: its words, and each run of CJK characters as a sequence."""
    run: list[str] = []
    end = -1
    for token in tokens(text):
        is_cjk = _IS_CJK.match(token.word) is not None
        if run and (not is_cjk or token.start != end):
            yield Term(tuple(run))
            run = []
        if is_cjk:
            run.append(token.word)
            end = token.end
        else:
            yield Term((token.word,))
    if run:
        yield Term(tuple(run))


def typos_allowed(word: str) -> int:
    """Return how many typos a word of a query may have: none with digits, none below five letters, two from nine on."""
    if len(word) < _FIRST_TYPO or not word.isalpha():
        return 0
    return 1 if len(word) < _SECOND_TYPO else 2


def typo_distance(word: str, other: str, limit: int) -> int:
    """Return the number of typos between two words; limit + 1 if there are more, or if the first letters differ.

    A typo is a letter too much, too few, wrong, or swapped with its neighbour (optimal string alignment).
    """
    if word == other:
        return 0
    if word[:1] != other[:1] or abs(len(word) - len(other)) > limit or not other.isalpha():
        return limit + 1
    word, other = _differing(word, other)
    before: list[int] = []
    previous = list(range(len(other) + 1))
    for row, letter in enumerate(word, 1):
        current = [row]
        for column, counterpart in enumerate(other, 1):
            cost = min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + (letter != counterpart))
            if row > 1 and column > 1 and letter == other[column - 2] and word[row - 2] == counterpart:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        if min(current) > limit and min(previous) > limit:
            return limit + 1
        before, previous = previous, current
    return min(previous[-1], limit + 1)


def _differing(word: str, other: str) -> tuple[str, str]:
    """Return two words without the letters that both begin with, and those that both end with."""
    shorter = min(len(word), len(other))
    start = 0
    while start < shorter and word[start] == other[start]:
        start += 1
    end = 0
    while end < shorter - start and word[-1 - end] == other[-1 - end]:
        end += 1
    return word[start : len(word) - end], other[start : len(other) - end]


def typo_keys(word: str, typos: int) -> set[str]:
    """Return the keys under which a word is found although it has up to `typos` typos.

    A key is the beginning of the word with up to `typos` letters deleted, never the first one. Two words with at most
    `typos` typos between them have a key in common, so candidates are found with one lookup by key.
    """
    beginning = word[:_KEY_LETTERS]
    places = range(1, len(beginning))
    return {
        "".join(letter for place, letter in enumerate(beginning) if place not in deleted)
        for count in range(typos + 1)
        for deleted in combinations(places, count)
    }


def indexed_typo_keys(word: str) -> set[str]:
    """Return the keys under which the index has a word: those of every query that it can answer."""
    if len(word) < _FIRST_TYPO - 1 or not word.isalpha():
        return set()
    return typo_keys(word, 1 if len(word) < _SECOND_TYPO - 2 else 2)


def nearest_words(term: Term, candidates: Iterable[str]) -> tuple[str, ...]:
    """Return those of the `candidates` that differ from the term by its typos, the nearest first."""
    [word], limit = term.words, term.typos
    letters = set(word)
    # A typo changes at most two of the letters that occur: most candidates need no comparison.
    similar = (each for each in set(candidates) - {word} if len(letters.symmetric_difference(each)) <= 2 * limit)
    distances = ((typo_distance(word, other, limit), other) for other in similar)
    near = sorted(each for each in distances if each[0] <= limit)
    return tuple(other for _, other in near[:MAX_CANDIDATES])


@dataclass(frozen=True, slots=True)
class Found:
    """Where and how a term was found: the tokens `first` to `last` of a field."""

    field: Field
    how: Match
    typos: int
    first: Token
    last: Token


@dataclass(frozen=True)
class Texts:
    """The searched texts of a show."""

    of: Mapping[Field, str]

    @cached_property
    def tokens(self) -> Mapping[Field, Sequence[Token]]:
        return {field: tokens(self.of[field]) for field in FIELDS}

    def find(self, term: Term) -> list[Found]:
        """Return every place where the term matches, the most important field first."""
        return [found for field in FIELDS for found in _places(field, self.tokens[field], term)]

    def tier(self, terms: Sequence[Term]) -> int | None:
        """Return the rank of the texts for a query: 0 is best, None if no term matches.

        Exact matches come before those with a typo; then counts in which fields the terms are: the name, name and
        venue, or all. A text that has some of the terms only comes last.
        """
        all_found = [self.find(term) for term in terms]
        for is_typo in (False, True):
            for level in range(LEVELS):
                fields = FIELDS[: level + 1]
                if all(_is_found(found, fields, is_typo=is_typo) for found in all_found):
                    return is_typo * LEVELS + level
        if not any(all_found):
            return None
        return RELAXED + sum(1 for found in all_found if found and not _is_found(found, FIELDS, is_typo=False))

    def matched(self, terms: Sequence[Term]) -> int:
        """Return how many of the terms match."""
        return sum(1 for term in terms if self.find(term))

    def highlights(self, terms: Sequence[Term]) -> dict[Field, str]:
        """Return the fields with matches as HTML: all is escaped, and the matches are in `<em>`."""
        places: dict[Field, list[tuple[int, int]]] = {}
        for term in terms:
            for found in self.find(term):
                places.setdefault(found.field, []).append((found.first.start, found.last.end))
        return {field: highlight(self.of[field], places[field]) for field in FIELDS if field in places}


def _is_found(found: Iterable[Found], fields: Sequence[Field], *, is_typo: bool) -> bool:
    return any(each.field in fields and (is_typo or each.how != "typo") for each in found)


def _places(field: Field, words: Sequence[Token], term: Term) -> Iterable[Found]:
    length = len(term.words)
    if length > 1:
        for start in range(len(words) - length + 1):
            chosen = words[start : start + length]
            if tuple(each.word for each in chosen) == term.words:
                yield Found(field, "phrase", 0, chosen[0], chosen[-1])
        return
    [word], limit = term.words, term.typos
    for token in words:
        if token.word == word:
            yield Found(field, "exact", 0, token, token)
        elif term.is_prefix and token.word.startswith(word):
            yield Found(field, "prefix", 0, token, token)
        elif limit and token.word[0] == word[0] and (typos := typo_distance(word, token.word, limit)) <= limit:
            yield Found(field, "typo", typos, token, token)


def highlight(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return the part of `text` around the first of the places, escaped, with each place in `<em>`."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    begin, finish = _excerpt(text, merged[0])
    parts = ["…"] if begin else []
    place = begin
    for start, end in merged:
        if end > finish:
            break
        parts += [html.escape(text[place:start]), "<em>", html.escape(text[start:end]), "</em>"]
        place = end
    parts.append(html.escape(text[place:finish]))
    if finish < len(text):
        parts.append("…")
    return "".join(parts)


def _excerpt(text: str, first: tuple[int, int]) -> tuple[int, int]:
    """Return the bounds of MAX_HIGHLIGHT_LENGTH letters around the first match, at spaces where there are any."""
    if len(text) <= MAX_HIGHLIGHT_LENGTH:
        return 0, len(text)
    begin = max(0, min(first[0] - MAX_HIGHLIGHT_LENGTH // 3, len(text) - MAX_HIGHLIGHT_LENGTH))
    finish = max(begin + MAX_HIGHLIGHT_LENGTH, first[1])
    if begin and (space := text.find(" ", begin, first[0])) >= 0:
        begin = space + 1
    if finish < len(text) and (space := text.rfind(" ", first[1], finish)) >= 0:
        finish = space
    return begin, min(finish, len(text))


def score(tier: int) -> float:
    """Return a number from 0 to 1 for a tier: 1 is best."""
    return (
        round((RELAXED - tier) / RELAXED, 3) if tier < RELAXED else max(0.01, round(0.1 - 0.01 * (tier - RELAXED), 2))
    )
