import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portico.kit.foundation import fold
from portico.services.catalog.words import MAX_WORD_LENGTH, MAX_WORDS, search_words, words_of


class TestFold:
    @pytest.mark.parametrize(
        ("text", "folded"),
        [
            ("LAMP", "lamp"),
            ("Crème", "creme"),
            ("Straße", "strasse"),
            ("ﬁne", "fine"),
            ("\uff37IDE", "wide"),
            ("한국", "한국"),
        ],
    )
    def test_ignores_case_accents_and_width(self, text: str, folded: str) -> None:
        assert fold(text) == folded

    @given(st.text())
    @example("\u0345")
    def test_upper_and_lower_case_have_the_same_words(self, text: str) -> None:
        assert words_of(text.lower()) == words_of(text.lower().casefold())


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("Red, red LAMP!", ["red", "lamp"]),
            ("ABC-12/x_9", ["abc", "12", "x", "9"]),
            ("हिन्दी किताब", ["हिन्दी", "किताब"]),
            ("落地灯 led", ["落", "落地", "地", "地灯", "灯", "led"]),
            ("한국", ["한", "한국", "국"]),
            ("x\u00adsoft me\ufeffet", ["xsoft", "meet"]),
            ("zero\u200bwidth", ["zero", "width"]),
            ("C++, c# 3+1", ["c", "c++", "c#", "3", "3+", "1"]),
            ("+ # ++ #tag", ["tag"]),
            ("👩\u200d🚀🇩🇪🇫🇷 ok❤\ufe0f", ["👩", "🚀", "🇩🇪", "🇫🇷", "ok", "❤"]),
            ("…—%_'\"★©", ["★"]),
        ],
    )
    def test_of_the_index(self, text: str, words: list[str]) -> None:
        assert words_of(text) == words

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("ABC-12", ["abc", "12"]),
            ("灯", ["灯"]),
            ("落地灯", ["落地", "地灯"]),
            ("日本語辞書", ["日本", "語辞", "辞書"]),
            ("c++", ["c", "c++"]),
        ],
    )
    def test_of_a_search_are_few(self, text: str, words: list[str]) -> None:
        assert search_words(text, limit=10) == words

    @given(st.text(min_size=1, max_size=30))
    def test_of_a_search_are_among_those_of_a_text_that_contains_it(self, text: str) -> None:
        assert set(search_words(text, limit=100)) <= set(words_of(text))

    def test_are_limited_in_length_and_number(self) -> None:
        found = words_of(" ".join(str(number) for number in range(1000)))

        assert words_of("x" * 100) == ["x" * MAX_WORD_LENGTH]
        assert (len(found), found[0]) == (MAX_WORDS, "0")

    @given(st.text())
    def test_contain_no_special_characters_of_sql(self, text: str) -> None:
        assert not any(set(word) & set("'\"\\%_:; \0") for word in words_of(text))
