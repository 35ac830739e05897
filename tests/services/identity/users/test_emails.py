# ruff: noqa: RUF001  look-alike letters are what is tested
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.services.identity.errors import EmailInvalid
from portico.services.identity.users.domain import MAX_KEY_LENGTH, Email, key_of
from portico.services.identity.users.scripts import mixes_scripts

ADDRESSES = st.emails() | st.builds(
    "{}@{}".format, st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20), st.just("example.com")
)


class TestEmailKey:
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
    def test_spellings_of_one_address_share_a_key(self, same: str) -> None:
        assert Email.parse(same).key == Email.parse("ada@example.com").key

    @pytest.mark.parametrize("other", ["adb@example.com", "ada@example.org", "a.da@example.com", "ada+x@example.com"])
    def test_different_addresses_have_different_keys(self, other: str) -> None:
        assert Email.parse(other).key != Email.parse("ada@example.com").key

    @pytest.mark.parametrize(
        ("look_alike", "real"),
        [
            ("раура@example.com", "paypa@example.com"),
            ("ορτ@example.com", "opt@example.com"),
            ("bıll@example.com", "bill@example.com"),
        ],
    )
    def test_look_alike_letters_share_a_key(self, look_alike: str, real: str) -> None:
        assert Email.parse(look_alike).key == Email.parse(real).key

    def test_look_alike_domain_has_its_ascii_form_in_the_key(self) -> None:
        assert Email.parse("ada@ехample.com").key.startswith("ada@xn--")

    @given(ADDRESSES)
    def test_normalized_address_has_the_same_key(self, address: str) -> None:
        key = key_of(address)
        if key is not None:
            assert key_of(address.upper().lower()) in {key, key_of(address.casefold())}
            assert key_of(Email.parse(address).address) == key
            assert len(key) <= MAX_KEY_LENGTH

    @given(ADDRESSES)
    def test_key_of_a_key_is_the_key(self, address: str) -> None:
        key = key_of(address)
        if key is not None:
            assert key_of(key) == key

    @given(st.text())
    def test_any_text_has_a_key_or_none(self, text: str) -> None:
        key = key_of(text)
        assert key is None or "@" in key


class TestParseEmail:
    def test_address_keeps_its_spelling(self) -> None:
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
    def test_invalid_address_is_rejected(self, text: str) -> None:
        with pytest.raises(EmailInvalid):
            Email.parse(text)

    @pytest.mark.parametrize("text", ["аdmin@example.com", "pαypal@example.com", "адмiн@example.com"])
    def test_mixed_scripts_are_rejected(self, text: str) -> None:
        with pytest.raises(EmailInvalid):
            Email.parse(text)

    @pytest.mark.parametrize(
        "text",
        [
            "иван@example.com",
            "太郎さん@example.com",
            "user1_2@example.com",
            "josé@example.com",
            "佐々木@example.jp",
            "〆野@example.jp",
            "kaʻimi@example.com",
            "田中taro@example.jp",
            "김민준kim@example.kr",
        ],
    )
    def test_scripts_that_are_written_together_are_accepted(self, text: str) -> None:
        assert Email.parse(text).address == text


class TestMixesScripts:
    """The levels "single script" and "highly restrictive" of UTS 39 section 5.2."""

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "1.2_3-4",
            "ada",
            "иван",
            "ελένη",
            "佐々木",
            "〆野",
            "ヴァイオリンー",
            "太郎さんカA",
            "ㄅ注音a",
            "한국어漢字a",
            "kaʻimi",
            "e\u0301clair",
            "и\u0306",
            "محمد",
        ],
    )
    def test_text_of_one_writing_system_passes(self, text: str) -> None:
        assert not mixes_scripts(text)

    @pytest.mark.parametrize(
        "text", ["aя", "aα", "яα", "太郎я", "さん한", "aまsя", "ㄅさ", "ada\u0967я", "אa", "\u0531\u0301"]
    )
    def test_scripts_of_different_writing_systems_do_not(self, text: str) -> None:
        assert mixes_scripts(text)

    @given(st.text())
    def test_order_does_not_matter(self, text: str) -> None:
        assert mixes_scripts(text) == mixes_scripts(text[::-1])

    @given(st.text(st.characters(categories=["L", "M", "N"]), max_size=8), st.sampled_from("1._-\u02bb"))
    def test_characters_of_every_script_change_nothing(self, text: str, common: str) -> None:
        assert mixes_scripts(text + common) == mixes_scripts(text)
