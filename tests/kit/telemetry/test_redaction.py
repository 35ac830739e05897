import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.telemetry.redaction import MAX_TEXT_LENGTH, is_secret_key, redact, scrub


class TestIsSecretKey:
    @pytest.mark.parametrize(
        "key",
        [
            "password",
            "new_password",
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "Set-Cookie",
            "access_token",
            "refreshToken",
            "token",
            "client_secret",
            "SECRET_KEY",
            "api_key",
            "X-Api-Key",
            "ticket",
            "signing_key",
        ],
    )
    def test_true_for_names_of_secrets(self, key: str) -> None:
        assert is_secret_key(key)

    @pytest.mark.parametrize(
        "key", ["token_id", "token_type", "key", "path", "event", "session_id", "author", "keyboard"]
    )
    def test_false_for_similar_names(self, key: str) -> None:
        assert not is_secret_key(key)


class TestRedact:
    def test_containers_are_redacted(self) -> None:
        shown = redact("request", {"headers": [{"Cookie": "a=b"}, {"accept": "*/*"}], "password": ["x"], "n": 1})

        assert shown == {"headers": [{"Cookie": "***"}, {"accept": "*/*"}], "password": "***", "n": 1}

    def test_recursive_values_are_cut(self) -> None:
        loop: dict[str, object] = {}
        loop["loop"] = loop

        assert "…" in str(redact("loop", loop))

    def test_a_long_container_is_cut(self) -> None:
        assert len(redact("ids", list(range(10_000)))) == 50

    def test_a_value_whose_str_fails_is_logged(self) -> None:
        class Broken:
            def __str__(self) -> str:
                raise RuntimeError("no text")

        assert redact("what", Broken()) == "<Broken: RuntimeError>"


class TestScrub:
    @pytest.mark.parametrize(
        "text",
        [
            "connecting to postgresql://me:hunter2@db/shop failed",
            "header was Bearer hunter2hunter2",
            "header was basic aHVudGVyMg==hunter2",
            "got eyJhbGciOiJFZERTQSJ9.eyJodW50ZXIyIjoxfQ.hunter2 from them",
        ],
    )
    def test_secrets_are_recognized_by_format(self, text: str) -> None:
        assert "hunter2" not in scrub(text)
        assert scrub(text).startswith(text[:4])

    @given(st.text(max_size=3 * MAX_TEXT_LENGTH))
    def test_the_result_is_limited(self, text: str) -> None:
        assert len(scrub(text)) <= MAX_TEXT_LENGTH + 1
