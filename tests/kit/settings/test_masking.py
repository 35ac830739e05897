from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.settings import Secret, mask_url, masked

# A marker makes a leak visible: a password of "p" would be found in "postgresql".
passwords = st.text(min_size=1, max_size=30).map(lambda text: f"hunter2{text}hunter2")


class TestMaskUrl:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://me:pw@db:5432/shop?sslmode=require", "postgresql://me:***@db:5432/shop?sslmode=require"),
            ("redis://:pw@cache/0", "redis://:***@cache/0"),
            ("postgresql://me@db/shop", "postgresql://me@db/shop"),
            ("postgresql://me:p/w@x@db/shop", "postgresql://me:***@db/shop"),
            ("postgresql://db/shop?user=me&password=pw", "postgresql://db/shop?user=me&password=***"),
            ("https://id.example/a?ticket=abc#top", "https://id.example/a?ticket=***#top"),
            ("could not reach redis://:pw@cache/0 twice", "could not reach redis://:***@cache/0 twice"),
            ("mail me@example.org", "mail me@example.org"),
        ],
    )
    def test_the_password_is_hidden_and_the_rest_is_kept(self, url: str, shown: str) -> None:
        assert mask_url(url) == shown

    @given(passwords)
    def test_no_escaped_password_leaks(self, password: str) -> None:
        assert "hunter2" not in mask_url(f"postgresql://me:{quote(password, safe='')}@db/shop")

    @given(st.text(st.characters(exclude_categories=["Z", "C"]), max_size=30))
    def test_no_unescaped_password_leaks(self, text: str) -> None:
        assert "hunter2" not in mask_url(f"postgresql://me:hunter2{text}@db/shop")

    @given(st.text())
    def test_masking_is_idempotent(self, text: str) -> None:
        assert mask_url(mask_url(text)) == mask_url(text)


class TestMasked:
    def test_secrets_and_addresses_are_masked_wherever_they_are(self) -> None:
        assert masked({"a": Secret("x"), "b": ("redis://:pw@cache", 3), "c": None}) == {
            "a": "***",
            "b": ["redis://:***@cache", 3],
            "c": None,
        }
