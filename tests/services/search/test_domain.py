import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portico.services.search.domain import (
    FIELDS,
    MAX_HIGHLIGHT_LENGTH,
    RELAXED,
    Term,
    Texts,
    highlight,
    indexed_typo_keys,
    nearest_words,
    parse_query,
    score,
    tokens,
    typo_distance,
    typo_keys,
    typos_allowed,
    words_of,
)

LETTERS = st.text("abcdeé", min_size=1, max_size=12)


def texts(name: str = "", venue: str = "", description: str = "") -> Texts:
    return Texts({"event_name": name, "venue_name": venue, "description": description})


def tier(query: str, name: str = "", venue: str = "", description: str = "") -> int | None:
    return texts(name, venue, description).tier(parse_query(query))


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("Crème BRÛLÉE", ["creme", "brulee"]),
            ("AC/DC, live!", ["ac", "dc", "live"]),
            ("Straße", ["strasse"]),
            ("C++ soft\u00adware", ["c", "software"]),
            ("東京 2026", ["東", "京", "2026"]),
            ("½ price", ["1", "2", "price"]),
            ("% ' \" \0 <b>", ["b"]),
            ("🎸 night", ["🎸", "night"]),
            ("", []),
        ],
    )
    def test_are_folded_runs_of_letters_and_digits(self, text: str, words: list[str]) -> None:
        assert words_of(text) == words

    @given(st.text())
    def test_lie_in_the_text_in_order(self, text: str) -> None:
        found = tokens(text)

        assert all(0 <= each.start < each.end <= len(text) and each.word for each in found)
        assert [each.start for each in found] == sorted(each.start for each in found)

    @given(st.text())
    @example("\u0345")
    def test_of_both_cases_are_the_same(self, text: str) -> None:
        assert words_of(text.lower()) == words_of(text.lower().casefold())


class TestQuery:
    def test_the_last_word_is_a_prefix(self) -> None:
        assert parse_query("new yo") == (Term(("new",)), Term(("yo",), is_prefix=True))

    def test_quotes_make_an_exact_sequence(self) -> None:
        assert parse_query('live "New York"') == (Term(("live",)), Term(("new", "york"), is_exact=True))

    def test_a_quote_that_is_not_closed_is_ignored(self) -> None:
        assert parse_query('"new york') == (Term(("new",)), Term(("york",), is_prefix=True))

    def test_a_repeated_word_counts_once(self) -> None:
        assert parse_query("live live") == (Term(("live",), is_prefix=True),)

    def test_neighbouring_cjk_characters_are_a_sequence(self) -> None:
        assert parse_query("東京 live") == (Term(("東", "京")), Term(("live",), is_prefix=True))

    @given(st.text(max_size=200))
    def test_every_text_is_a_query(self, text: str) -> None:
        assert all(term.words for term in parse_query(text))


class TestTypos:
    @pytest.mark.parametrize(
        ("word", "allowed"),
        [("live", 0), ("queen", 1), ("festival", 1), ("orchestra", 2), ("2026", 0), ("covid19", 0)],
    )
    def test_are_allowed_by_length(self, word: str, allowed: int) -> None:
        assert typos_allowed(word) == allowed

    @pytest.mark.parametrize(
        ("word", "other", "distance"),
        [
            ("queen", "queen", 0),
            ("queen", "quene", 1),
            ("queen", "quen", 1),
            ("queen", "queeen", 1),
            ("queen", "quean", 1),
            ("queen", "ueqen", 3),
            ("queen", "green", 3),
            ("queen", "queen2", 3),
            ("orchestra", "orhcesrta", 2),
        ],
    )
    def test_are_counted(self, word: str, other: str, distance: int) -> None:
        assert typo_distance(word, other, 2) == distance

    @given(LETTERS, LETTERS)
    def test_count_the_same_both_ways(self, word: str, other: str) -> None:
        assert typo_distance(word, other, 2) == typo_distance(other, word, 2)

    @given(st.text("abc", min_size=5, max_size=11), st.text("abc", min_size=3, max_size=13))
    @example("abcabcabc", "abcabcbac")
    @example("aabbccaab", "abbccaa")
    def test_words_within_the_limit_have_a_key_in_common(self, word: str, other: str) -> None:
        limit = typos_allowed(word)

        if typo_distance(word, other, limit) <= limit:
            assert typo_keys(word, limit) & indexed_typo_keys(other)

    @given(st.text("abcdef", min_size=5, max_size=11), st.lists(st.text("abcdef", min_size=3, max_size=12)))
    def test_nearest_words_are_those_within_the_limit(self, word: str, others: list[str]) -> None:
        term = Term((word,))

        expected = {each for each in others if 0 < typo_distance(word, each, term.typos) <= term.typos}

        assert set(nearest_words(term, others)) == expected

    def test_nearest_words_come_first(self) -> None:
        term = Term(("orchestra",))

        found = nearest_words(term, ["orchestar", "orhcesrta", "orchestras", "orchestra", "archestra", "opera"])

        assert found == ("orchestar", "orchestras", "orhcesrta")


class TestTier:
    def test_the_name_comes_before_the_venue_and_the_description(self) -> None:
        assert [tier("queen", "Queen"), tier("queen", "", "Queen Hall"), tier("queen", "", "", "with Queen")] == [
            0,
            1,
            2,
        ]

    def test_an_exact_match_comes_before_a_typo(self) -> None:
        assert (tier("quene", "Queen"), tier("queen", "", "", "Queen")) == (3, 2)

    def test_all_terms_in_the_name_come_before_some_in_the_venue(self) -> None:
        assert (tier("queen live", "Queen live"), tier("queen live", "Queen", "Live Hall")) == (0, 1)

    def test_a_prefix_is_exact(self) -> None:
        assert (tier("que", "Queen"), tier("que queen", "Queen")) == (0, RELAXED)

    def test_quoted_words_must_follow_each_other_and_bear_no_typo(self) -> None:
        assert tier('"new york"', "A new York") == 0
        assert tier('"new york"', "York, new") is None
        assert tier('"quene"', "Queen") is None

    def test_a_show_with_some_terms_is_relaxed(self) -> None:
        assert (tier("queen berlin", "Queen"), tier("quene berlin", "Queen")) == (RELAXED, RELAXED + 1)
        assert tier("berlin", "Queen") is None

    def test_better_tiers_have_higher_scores(self) -> None:
        scores = [score(each) for each in range(20)]

        assert scores == sorted(scores, reverse=True)
        assert (scores[0], scores[-1]) == (1, 0.01)


class TestHighlights:
    def test_matches_are_marked_in_each_field(self) -> None:
        found = texts("Crème de la crème", "Cremehall", "none").highlights(parse_query("creme"))

        assert found == {"event_name": "<em>Crème</em> de la <em>crème</em>", "venue_name": "<em>Cremehall</em>"}

    def test_markup_is_escaped(self) -> None:
        found = texts("<b>Queen</b> & 'co'").highlights(parse_query("queen"))

        assert found == {"event_name": "&lt;b&gt;<em>Queen</em>&lt;/b&gt; &amp; &#x27;co&#x27;"}

    def test_a_sequence_is_marked_as_one(self) -> None:
        assert (
            texts("In New York now").highlights(parse_query('"new york"'))["event_name"] == "In <em>New York</em> now"
        )

    def test_a_long_text_is_cut_around_the_first_match(self) -> None:
        text = "word " * 200 + "queen " + "word " * 200

        found = texts("", "", text).highlights(parse_query("queen"))["description"]

        assert found.startswith("…word")
        assert found.endswith("word…")
        assert "<em>queen</em>" in found
        assert len(found) < MAX_HIGHLIGHT_LENGTH + 20

    @given(st.text(max_size=500), st.lists(st.tuples(st.integers(0, 499), st.integers(1, 40)), min_size=1))
    def test_only_em_is_markup(self, text: str, places: list[tuple[int, int]]) -> None:
        within = [(start, min(start + length, len(text))) for start, length in places if start < len(text)]

        if within:
            found = highlight(text, within)
            bare = re.sub("</?em>", "", found)
            assert "<" not in bare
            assert html.unescape(bare).strip("…") in text.strip("…") or "…" in text

    @given(st.text('ab <&"é', max_size=60), st.text('ab "é', max_size=10))
    def test_a_match_has_a_highlight(self, text: str, query: str) -> None:
        terms = parse_query(query)
        show = texts(text, text[:10])

        assert set(show.highlights(terms)) <= set(FIELDS)
        assert bool(show.highlights(terms)) == bool(show.matched(terms))
