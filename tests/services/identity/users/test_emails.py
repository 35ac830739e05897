# ruff: noqa: RUF001  look-alike letters are what is tested
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.services.identity.errors import EmailInvalid
from portico.services.identity.users.domain import MAX_KEY_LENGTH, Email, key_of, scripts

ADDRESSES = st.emails() | st.builds(
    "{}@{}".format, st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20), st.just("example.com")
)


class TestTheKeyOfAnEmail:
    @pytest.mark.parametrize(
        "same",
        [
            "Ada@Example.com",
            "ADA@EXAMPLE.COM",
            " ada@example.com ",
            "ａｄａ@example.com",
            "ada@ｅxample.com",
        ],
    )
    def test_is_the_same_for_other_spellings(self, same: str) -> None:
        assert Email.parse(same).key == Email.parse("ada@example.com").key

    @pytest.mark.parametrize("other", ["adb@example.com", "ada@example.org", "a.da@example.com", "ada+x@example.com"])
    def test_is_another_for_another_address(self, other: str) -> None:
        assert Email.parse(other).key != Email.parse("ada@example.com").key

    @pytest.mark.parametrize(
        ("look_alike", "real"),
        [
            ("раура@example.com", "paypa@example.com"),
            ("ορτ@example.com", "opt@example.com"),
            ("bıll@example.com", "bill@example.com"),
        ],
    )
    def test_is_the_same_for_letters_that_look_alike(self, look_alike: str, real: str) -> None:
        assert Email.parse(look_alike).key == Email.parse(real).key

    def test_tells_a_look_alike_domain_by_its_ascii_form(self) -> None:
        assert Email.parse("ada@ехample.com").key.startswith("ada@xn--")

    @given(ADDRESSES)
    def test_is_the_same_however_the_address_is_written(self, address: str) -> None:
        key = key_of(address)
        if key is not None:
            assert key_of(address.upper().lower()) in {key, key_of(address.casefold())}
            assert key_of(Email.parse(address).address) == key
            assert len(key) <= MAX_KEY_LENGTH

    @given(ADDRESSES)
    def test_is_its_own_key(self, address: str) -> None:
        key = key_of(address)
        if key is not None:
            assert key_of(key) == key

    @given(st.text())
    def test_of_any_text_is_a_key_or_none(self, text: str) -> None:
        key = key_of(text)
        assert key is None or "@" in key


class TestAnEmail:
    def test_is_kept_as_it_was_written(self) -> None:
        assert Email.parse("Ada.Lovelace@Example.com").address == "Ada.Lovelace@example.com"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@example..com",
            "a b@example.com",
            "ada@example.com\0",
            "ada@[127.0.0.1]",
            "x" * 65 + "@example.com",
            "ada@" + "x" * 250 + ".com",
            "ﷺ" * 100 + "@example.com",
        ],
    )
    def test_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(EmailInvalid):
            Email.parse(text)

    @pytest.mark.parametrize("text", ["аdmin@example.com", "pαypal@example.com", "адмiн@example.com"])
    def test_that_mixes_alphabets_is_refused(self, text: str) -> None:
        with pytest.raises(EmailInvalid):
            Email.parse(text)

    @pytest.mark.parametrize(
        "text", ["иван@example.com", "太郎さん@example.com", "user1_2@example.com", "josé@example.com"]
    )
    def test_of_one_alphabet_is_taken(self, text: str) -> None:
        assert Email.parse(text).address == text


class TestScripts:
    def test_that_one_language_mixes_count_as_one(self) -> None:
        assert scripts("太郎さんカ한") == {"EAST ASIAN"}

    def test_are_told_apart(self) -> None:
        assert scripts("aя1.") == {"LATIN", "CYRILLIC"}
