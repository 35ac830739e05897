from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from portico.kit.settings import (
    AlsoSpelled,
    Rate,
    Read,
    Secret,
    ServiceSettings,
    Settings,
    SettingsError,
    read_settings,
)


def read(environ: dict[str, str] | None = None, *, dotenv: Path | None = None) -> Read[Settings]:
    return read_settings(Settings, environ=environ or {}, dotenv_file=dotenv)


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as refused:
        read(environ)
    assert len(refused.value.sentences) == 1
    return refused.value.sentences[0]


class TestDefaults:
    def test_nothing_set_is_the_embedded_default(self) -> None:
        settings = read().value

        assert settings.database_url is None
        assert settings.data_dir == Path(".portico")
        assert settings.rate_limit == Rate(100, 60)
        assert settings.rate_limit_sign_in == Rate(10, 60)
        assert settings.cors_origins == tuple(f"http://localhost:{port}" for port in (3000, 3001, 3002, 3003, 3004))

    def test_every_default_is_valid_itself(self) -> None:
        defaults = read().value

        assert Settings.model_validate(defaults.model_dump()) == defaults

    def test_every_setting_is_described(self) -> None:
        assert [name for name, field in Settings.model_fields.items() if not field.description] == []

    def test_a_variable_set_to_nothing_is_not_set(self) -> None:
        found = read({"DATABASE_URL": "", "LOG_LEVEL": "  "})

        assert found.value.database_url is None
        assert found.origins["log_level"] == "default"


class TestSources:
    @pytest.fixture
    def dotenv(self, tmp_path: Path) -> Path:
        path = tmp_path / ".env"
        path.write_text("LOG_LEVEL=error\nISSUER='https://id.example'\nJWT_SECRET_KEY=${not-a-name}\n")
        return path

    def test_the_environment_beats_the_file(self, dotenv: Path) -> None:
        found = read({"LOG_LEVEL": "debug"}, dotenv=dotenv)

        assert found.value.log_level == "debug"
        assert found.origins["log_level"] == "environment"

    def test_the_file_beats_the_default(self, dotenv: Path) -> None:
        found = read(dotenv=dotenv)

        assert found.value.issuer == "https://id.example"
        assert (found.origins["issuer"], found.origins["host"]) == (".env", "default")

    def test_another_spelling_in_the_environment_beats_the_file_too(self, dotenv: Path) -> None:
        found = read({"JWT_SECRET": "from the environment"}, dotenv=dotenv)

        assert found.value.jwt_secret == Secret("from the environment")

    def test_a_value_in_the_file_means_what_it_says(self, dotenv: Path) -> None:
        found = read(dotenv=dotenv)

        assert found.value.jwt_secret == Secret("${not-a-name}")
        assert found.origins["jwt_secret"] == ".env as JWT_SECRET_KEY"

    def test_a_missing_file_is_no_mistake(self, tmp_path: Path) -> None:
        assert read(dotenv=tmp_path / ".env").value == Settings()

    def test_a_file_that_is_no_text_is_named(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")

        with pytest.raises(SettingsError, match=r"\.env can't be read as text"):
            read(dotenv=tmp_path / ".env")


class TestSpellings:
    @pytest.mark.parametrize(
        ("variable", "text"),
        [("ACCESS_TOKEN_EXPIRE_MINUTES", "1440"), ("JWT_EXPIRATION_MINUTES", "1440"), ("TOKEN_EXPIRY", "24h")],
    )
    def test_the_life_of_a_token_may_be_spelled_three_ways(self, variable: str, text: str) -> None:
        assert read({variable: text}).value.access_token_expire_minutes == 1440

    def test_spellings_that_agree_are_fine(self) -> None:
        found = read({"TOKEN_EXPIRY": "1h", "JWT_EXPIRATION_MINUTES": "60"})

        assert found.value.access_token_expire_minutes == 60
        assert found.origins["access_token_expire_minutes"] == "environment as JWT_EXPIRATION_MINUTES"

    def test_spellings_that_disagree_are_refused_by_name(self) -> None:
        sentence = refusal(JWT_SECRET="one value", JWT_SECRET_KEY="another")

        assert "JWT_SECRET and JWT_SECRET_KEY say different things" in sentence
        assert "one value" not in sentence
        assert "another" not in sentence.replace("and remove the other", "")

    def test_a_spelling_in_other_units_says_how_to_write_it(self) -> None:
        assert "TOKEN_EXPIRY (environment) can't be used: write a duration" in refusal(TOKEN_EXPIRY="soon")


class TestServiceUrls:
    def test_instances_are_separated_by_commas(self) -> None:
        found = read({"USER_SERVICE_URL": "http://user-1:8001, http://user-2:8001/", "AUTH_SERVICE_URL": "srv://auth"})

        assert found.value.service_urls == {
            "user": ("http://user-1:8001", "http://user-2:8001"),
            "auth": ("srv://auth",),
        }

    def test_the_environment_and_the_file_add_up(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("USER_SERVICE_URL=http://file:1\nAUTH_SERVICE_URL=http://file:2\n")

        found = read({"USER_SERVICE_URL": "http://environment:1"}, dotenv=tmp_path / ".env")

        assert found.value.service_urls == {"user": ("http://environment:1",), "auth": ("http://file:2",)}
        assert found.origins["service_urls"] == "environment and .env"

    @pytest.mark.parametrize("url", ["user:8001", "ftp://user", "http://", "http://me:pw@user:8001"])
    def test_what_is_no_address_is_refused_by_its_variable(self, url: str) -> None:
        assert refusal(USER_SERVICE_URL=url).startswith("USER_SERVICE_URL (environment) can't be used: write ")


class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "text", "advice"),
        [
            ("LOG_LEVEL", "chatty", "write 'debug', 'info'"),
            ("BODY_LIMIT", "big", "write a size"),
            ("REQUEST_TIMEOUT", "-3", "write a duration"),
            ("RATE_LIMIT", "lots", "write a rate"),
            ("RATE_LIMIT", "0/minute", "write a rate"),
            ("CORS_ORIGINS", "*", "name the origins instead"),
            ("CORS_ORIGINS", "https://shop.example/path", "is no origin"),
            ("CORS_ORIGINS", '["https://shop.example"', "JSON array"),
            ("CORS_ORIGINS", "[1]", "is no origin"),
            ("TRUSTED_PROXIES", "everyone", "is no address or network"),
            ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
            ("TOKEN_VERIFICATION", "maybe", "write 'keys' or 'ask'"),
        ],
    )
    def test_a_value_that_cannot_be_says_what_to_write(self, variable: str, text: str, advice: str) -> None:
        sentence = refusal(**{variable: text})

        assert sentence.startswith(f"{variable}={text} (environment) can't be used: ")
        assert advice in sentence

    def test_all_mistakes_are_told_at_once(self) -> None:
        with pytest.raises(SettingsError) as refused:
            read({"LOG_LEVEL": "chatty", "BODY_LIMIT": "big", "JWT_SECRET": "a", "JWT_SECRET_KEY": "b"})

        assert len(refused.value.sentences) == 3

    @pytest.mark.parametrize("variable", ["REDIS_URL", "RABBITMQ_URL", "NATS_URL", "KAFKA_URL"])
    def test_an_address_that_may_hold_a_password_is_not_repeated(self, variable: str) -> None:
        sentence = refusal(**{variable: "redis//:hunter2@cache"})

        assert sentence.startswith(f"{variable} (environment) can't be used: write an address such as ")
        assert "hunter2" not in sentence

    def test_two_brokers_are_refused(self) -> None:
        sentence = refusal(RABBITMQ_URL="amqp://me:hunter2@one/", NATS_URL="nats://me:hunter2@two")

        assert sentence.startswith("RABBITMQ_URL and NATS_URL are set")
        assert "hunter2" not in sentence


class LoansSettings(ServiceSettings):
    loan_days: int = Field(14, ge=1, description="Days that a book is lent")
    shelf_key: Annotated[Secret, AlsoSpelled("SHELF_SECRET")] = Field(description="Opens the shelf")


class TestServiceSettings:
    def test_a_service_reads_its_own_from_the_same_environment(self) -> None:
        found = read_settings(LoansSettings, environ={"LOAN_DAYS": "7", "SHELF_SECRET": "sesame", "LOG_LEVEL": "debug"})

        assert found.value == LoansSettings(loan_days=7, shelf_key=Secret("sesame"))

    def test_what_has_no_default_must_be_set(self) -> None:
        with pytest.raises(SettingsError, match="SHELF_KEY is not set: Opens the shelf"):
            read_settings(LoansSettings, environ={})


class TestListing:
    def test_secrets_are_masked_and_the_rest_is_shown(self) -> None:
        found = read({"DATABASE_URL": "postgresql://me:hunter2@db/shop", "SECRET_KEY": "hunter2", "ISSUER": "shop"})

        listed = {setting.variable: setting for setting in found.listed()}

        assert listed["DATABASE_URL"].value == "postgresql://me:***@db/shop"
        assert listed["SECRET_KEY"].value == "***"
        assert (listed["ISSUER"].value, listed["ISSUER"].origin) == ("shop", "environment")
        assert listed["RATE_LIMIT"].value == "100/minute"
        assert "{NAME}_SERVICE_URL" in listed

    def test_settings_in_a_traceback_show_no_secret(self) -> None:
        found = read({"DATABASE_URL": "postgresql://me:hunter2@db/shop", "SECRET_KEY": "hunter2"})

        assert "hunter2" not in repr(found)
