"""Full-text search of each database: how words are stored, and how a query is written."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from portico.services.search.domain import FIELDS, Field, Term, Texts
from portico.services.search.models import Slot

_MAX_POSITIONS: Final = 16_383  # PostgreSQL stores larger positions as this one


@dataclass(frozen=True, slots=True)
class Alternatives:
    """A term with the words of the index that match it with typos."""

    term: Term
    misspelled: tuple[str, ...] = ()

    @property
    def exact(self) -> "Alternatives":
        return Alternatives(self.term)


class FullText(ABC):
    """The full-text table `texts_a` or `texts_b` of one database."""

    insert: ClassVar[str]
    delete: ClassVar[str] = "DELETE FROM texts_{slot} WHERE show_id = :show_id"
    clear: ClassVar[str] = "DELETE FROM texts_{slot}"
    materialized: ClassVar[str] = "MATERIALIZED"

    @abstractmethod
    def values(self, texts: Texts) -> dict[str, Any]:
        """Return the values that `insert` takes besides `show_id`."""

    @abstractmethod
    def matching(self, slot: Slot, parameter: str, fields: Sequence[Field]) -> str:
        """Return SQL that selects the ids of the shows that match the expression in a parameter."""

    @abstractmethod
    def expression(self, terms: Sequence[Alternatives], fields: Sequence[Field]) -> str:
        """Return the expression of a query: every term is in one of the fields."""


class SqliteFullText(FullText):
    """SQLite FTS5. The tokenizer `ascii` splits at spaces; the words are folded already."""

    insert = "INSERT INTO texts_{slot} (rowid, event_name, venue_name, description) VALUES (:show_id, :event_name, :venue_name, :description)"
    delete = "DELETE FROM texts_{slot} WHERE rowid = :show_id"

    def values(self, texts: Texts) -> dict[str, Any]:
        return {field: " ".join(each.word for each in texts.tokens[field]) for field in FIELDS}

    def matching(self, slot: Slot, parameter: str, fields: Sequence[Field]) -> str:  # noqa: ARG002  # in the expression
        return f"SELECT rowid AS show_id FROM texts_{slot} WHERE texts_{slot} MATCH :{parameter}"

    def expression(self, terms: Sequence[Alternatives], fields: Sequence[Field]) -> str:
        whole = " AND ".join(f"({' OR '.join(self._choices(each))})" for each in terms)
        return whole if len(fields) == len(FIELDS) else f"{{{' '.join(fields)}}} : ({whole})"

    def _choices(self, each: Alternatives) -> list[str]:
        star = "*" if each.term.is_prefix else ""
        return [f'"{each.term.text}"{star}', *(f'"{word}"' for word in each.misspelled)]


class PostgresFullText(FullText):
    """PostgreSQL text search. The fields are the weights A, B and C; the words are folded already."""

    insert = "INSERT INTO texts_{slot} (show_id, words) VALUES (:show_id, CAST(CAST(:words AS text) AS tsvector))"
    _WEIGHTS: ClassVar[Mapping[Field, str]] = dict(zip(FIELDS, "ABC", strict=True))

    def values(self, texts: Texts) -> dict[str, Any]:
        places: dict[str, list[str]] = {}
        position = 0
        for field in FIELDS:
            for token in texts.tokens[field]:
                position += 1
                places.setdefault(token.word, []).append(f"{min(position, _MAX_POSITIONS)}{self._WEIGHTS[field]}")
            position += 1  # a sequence does not continue in the next field
        return {"words": " ".join(f"'{word}':{','.join(found[:255])}" for word, found in places.items())}

    def matching(self, slot: Slot, parameter: str, fields: Sequence[Field]) -> str:  # noqa: ARG002  # in the expression
        return f"SELECT show_id FROM texts_{slot} WHERE words @@ CAST(CAST(:{parameter} AS text) AS tsquery)"

    def expression(self, terms: Sequence[Alternatives], fields: Sequence[Field]) -> str:
        weights = "" if len(fields) == len(FIELDS) else "".join(self._WEIGHTS[each] for each in fields)
        return " & ".join(f"({' | '.join(self._choices(each, weights))})" for each in terms)

    def _choices(self, each: Alternatives, weights: str) -> list[str]:
        if len(each.term.words) > 1:
            return [" <-> ".join(_lexeme(word, weights) for word in each.term.words)]
        [word] = each.term.words
        flags = weights + ("*" if each.term.is_prefix else "")
        return [_lexeme(word, flags), *(_lexeme(other, weights) for other in each.misspelled)]


def _lexeme(word: str, flags: str) -> str:
    return f"'{word}':{flags}" if flags else f"'{word}'"


class MySqlFullText(FullText):
    """FULLTEXT indexes of MySQL and MariaDB (InnoDB).

    They ignore words that are short or frequent in English, and know the letters of few scripts. So each word gets a
    prefix, and each letter beyond ASCII is written as its number.
    """

    insert = "INSERT INTO texts_{slot} (show_id, event_name, venue_name, description) VALUES (:show_id, :event_name, :venue_name, :description)"
    materialized = ""

    def values(self, texts: Texts) -> dict[str, Any]:
        return {field: " ".join(_ascii_word(each.word) for each in texts.tokens[field]) for field in FIELDS}

    def matching(self, slot: Slot, parameter: str, fields: Sequence[Field]) -> str:
        columns = ", ".join(fields)
        return f"SELECT show_id FROM texts_{slot} WHERE MATCH ({columns}) AGAINST (:{parameter} IN BOOLEAN MODE)"

    def expression(self, terms: Sequence[Alternatives], fields: Sequence[Field]) -> str:  # noqa: ARG002  # in `matching`
        return " ".join(f"+{self._choices(each)}" for each in terms)

    def _choices(self, each: Alternatives) -> str:
        if len(each.term.words) > 1:
            return f'"{" ".join(map(_ascii_word, each.term.words))}"'
        star = "*" if each.term.is_prefix else ""
        words = [_ascii_word(each.term.words[0]) + star, *map(_ascii_word, each.misspelled)]
        return f"({' '.join(words)})"


def _ascii_word(word: str) -> str:
    written = word if word.isascii() else "".join(c if c.isascii() else f"_{ord(c):x}" for c in word)
    return f"zz{written}"[:84]  # InnoDB's longest word


FULL_TEXT: Final[Mapping[str, FullText]] = {
    "sqlite": SqliteFullText(),
    "postgresql": PostgresFullText(),
    "mysql": MySqlFullText(),
    "mariadb": MySqlFullText(),
}
"""By the name of SQLAlchemy's dialect."""
