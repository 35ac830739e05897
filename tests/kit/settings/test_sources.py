from pathlib import Path
from typing import Annotated

import pytest
from pydantic import AliasChoices, Field

from portico.kit.settings import (
    Converted,
    Environment,
    LoadedSettings,
    Rate,
    Secret,
    ServiceSettings,
    Settings,
    SettingsError,
    check_variables,
    parse_duration,
    read_settings,
)


class LoansSettings(ServiceSettings, env_prefix="LOANS_"):
    days: int = Field(14, ge=1, description="How long (days) a book is lent")
    shelf_key: Secret | None = Field(
        None, validation_alias=AliasChoices("SHELF_KEY", "SHELF_SECRET"), description="Key that opens the shelf"
    )
    hold_minutes: Annotated[float, Converted("HOLD_TIME", lambda text: parse_duration(text) / 60)] = Field(
        60.0, validation_alias=AliasChoices("LOANS_HOLD_MINUTES", "HOLD_LIMIT_MINUTES", "HOLD_TIME")
    )


class DepositSettings(ServiceSettings, env_prefix="DEPOSITS_"):
    account: str = Field(description="Account that receives deposits")


def read(environ: dict[str, str] | None = None, *, dotenv: Path | None = None) -> LoadedSettings[Settings]:
    return read_settings(Settings, environ=environ or {}, dotenv_file=dotenv)


def read_loans(environ: dict[str, str] | None = None, *, dotenv: Path | None = None) -> LoadedSettings[LoansSettings]:
    return read_settings(LoansSettings, environ=environ or {}, dotenv_file=dotenv)


def error_message(kind: type[ServiceSettings] = Settings, **environ: str) -> str:
    with pytest.raises(SettingsError) as refused:
        read_settings(kind, environ=environ)
    assert len(refused.value.messages) == 1
    return refused.value.messages[0]


class TestDefaults:
    def test_without_variables_everything_is_embedded(self) -> None:
        settings = read().value

        assert settings.database_url is None
        assert settings.data_dir == Path(".portico")
        assert settings.rate_limit == Rate(100, 60)
        assert settings.rate_limit_sign_in == Rate(10, 60)
        assert settings.cors_origins == tuple(f"http://localhost:{port}" for port in (3000, 3001, 3002, 3003, 3004))

    def test_the_kit_has_no_default_system(self) -> None:
        assert read().value.portico_system is None

    def test_every_default_is_valid(self) -> None:
        defaults = read().value

        assert Settings.model_validate(defaults.model_dump()) == defaults

    def test_every_setting_is_described(self) -> None:
        assert [name for name, field in Settings.model_fields.items() if not field.description] == []

    def test_an_empty_variable_counts_as_unset(self) -> None:
        loaded = read({"DATABASE_URL": "", "LOG_LEVEL": "  "})

        assert loaded.value.database_url is None
        assert loaded.origins["log_level"] == "default"

    def test_creating_settings_reads_no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOG_LEVEL", "debug")
        monkeypatch.setenv("LOANS_DAYS", "7")

        assert Settings().log_level == "info"
        assert LoansSettings().days == 14


class TestSources:
    @pytest.fixture
    def dotenv(self, tmp_path: Path) -> Path:
        path = tmp_path / ".env"
        path.write_text("LOG_LEVEL=error\nHOST='0.0.0.0'\nSHELF_SECRET=${not-a-name}\n")
        return path

    def test_the_environment_takes_precedence_over_the_file(self, dotenv: Path) -> None:
        loaded = read({"LOG_LEVEL": "debug"}, dotenv=dotenv)

        assert loaded.value.log_level == "debug"
        assert loaded.origins["log_level"] == "environment"

    def test_the_file_takes_precedence_over_the_default(self, dotenv: Path) -> None:
        loaded = read(dotenv=dotenv)

        assert loaded.value.host == "0.0.0.0"  # noqa: S104 an example
        assert (loaded.origins["host"], loaded.origins["grace_period"]) == (".env", "default")

    def test_an_alias_in_the_environment_takes_precedence_over_the_file(self, dotenv: Path) -> None:
        loaded = read_loans({"SHELF_KEY": "from the environment"}, dotenv=dotenv)

        assert loaded.value.shelf_key == Secret("from the environment")

    def test_a_value_in_the_file_is_not_interpolated(self, dotenv: Path) -> None:
        loaded = read_loans(dotenv=dotenv)

        assert loaded.value.shelf_key == Secret("${not-a-name}")
        assert loaded.origins["shelf_key"] == ".env as SHELF_SECRET"

    def test_the_file_may_be_absent(self, tmp_path: Path) -> None:
        assert read(dotenv=tmp_path / ".env").value == Settings()

    def test_a_file_that_is_not_text_is_rejected_by_name(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")

        with pytest.raises(SettingsError, match=r"\.env cannot be read as text"):
            read(dotenv=tmp_path / ".env")

    def test_a_file_may_begin_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfHOST=::1\n")

        assert read(dotenv=tmp_path / ".env").value.host == "::1"

    def test_lines_that_set_nothing_are_rejected_without_being_repeated(self, tmp_path: Path) -> None:
        lines = [
            "# ours",
            "",
            "HOST=::1",
            "DATABASE_URL postgresql://me:hunter2@db",
            "",
            "hunter2",
            "export X='hunter2' y",
        ]
        (tmp_path / ".env").write_text("\n".join(lines))

        with pytest.raises(SettingsError) as refused:
            read(dotenv=tmp_path / ".env")

        assert [message.partition(" is not NAME=value.")[0] for message in refused.value.messages] == [
            f"{tmp_path / '.env'}, line {number}" for number in (4, 6, 7)
        ]
        assert "hunter2" not in str(refused.value)


class TestMisspelt:
    KNOWN = frozenset(
        {"DATABASE_URL", "HOST", "REDIS_URL", "NOTIFICATIONS_SERVICE_URL", "SAGA_POLL", "SECRET_KEY", "DATA_DIR"}
    )

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("DATABSE_URL", "DATABASE_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("REIDS_URL", "REDIS_URL"),
            ("database_url", "DATABASE_URL"),
            ("NOTIFICATION_SERVICE_ULR", "NOTIFICATIONS_SERVICE_URL"),
        ],
    )
    def test_a_name_close_to_a_known_one_is_reported(self, name: str, meant: str, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(f"{name}=hunter2\n")

        in_file = Environment(dotenv_file=tmp_path / ".env").misspelt(self.KNOWN)
        in_environment = Environment({name: "hunter2"}).misspelt(self.KNOWN)

        assert in_file == [f"{name} (.env) is not a setting and is ignored. Did you mean {meant}?"]
        assert in_environment == [f"{name} (environment) is not a setting and is ignored. Did you mean {meant}?"]

    @pytest.mark.parametrize(
        "name",
        ["DATABASE_URL", "HOSTNAME", "POST", "XDG_DATA_DIRS", "NOTIFICATIONS_SERVICE_PORT", "GPG_KEY", "REDIS_PORT"],
    )
    def test_names_of_other_programs_are_not(self, name: str) -> None:
        assert Environment({name: "x"}).misspelt(self.KNOWN) == []


class TestAliases:
    @pytest.mark.parametrize(
        ("variable", "text"), [("LOANS_HOLD_MINUTES", "1440"), ("HOLD_LIMIT_MINUTES", "1440"), ("HOLD_TIME", "24h")]
    )
    def test_every_alias_sets_the_field(self, variable: str, text: str) -> None:
        assert read_loans({variable: text}).value.hold_minutes == 1440

    def test_aliases_with_equal_values_are_accepted(self) -> None:
        loaded = read_loans({"HOLD_TIME": "1h", "HOLD_LIMIT_MINUTES": "60"})

        assert loaded.value.hold_minutes == 60
        assert loaded.origins["hold_minutes"] == "environment as HOLD_LIMIT_MINUTES"

    def test_aliases_that_disagree_are_rejected_without_their_values(self) -> None:
        message = error_message(LoansSettings, SHELF_KEY="one value", SHELF_SECRET="another")

        assert "SHELF_KEY and SHELF_SECRET have different values in the environment" in message
        assert "one value" not in message
        assert "another" not in message.replace("remove the other", "")

    def test_an_invalid_value_in_another_unit_names_the_alias(self) -> None:
        message = error_message(LoansSettings, HOLD_TIME="soon")

        assert message.startswith("HOLD_TIME (environment) cannot be used: write a duration")


class TestServiceUrls:
    def test_instances_are_separated_by_commas(self) -> None:
        loaded = read({"USER_SERVICE_URL": "http://user-1:8001, http://user-2:8001/", "AUTH_SERVICE_URL": "srv://auth"})

        assert loaded.value.service_urls == {
            "user": ("http://user-1:8001", "http://user-2:8001"),
            "auth": ("srv://auth",),
        }

    def test_the_environment_and_the_file_are_merged(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("USER_SERVICE_URL=http://file:1\nAUTH_SERVICE_URL=http://file:2\n")

        loaded = read({"USER_SERVICE_URL": "http://environment:1"}, dotenv=tmp_path / ".env")

        assert loaded.value.service_urls == {"user": ("http://environment:1",), "auth": ("http://file:2",)}
        assert loaded.origins["service_urls"] == "environment and .env"

    @pytest.mark.parametrize("url", ["user:8001", "ftp://user", "http://", "http://me:pw@user:8001"])
    def test_an_invalid_address_is_rejected_by_its_variable(self, url: str) -> None:
        assert error_message(USER_SERVICE_URL=url).startswith("USER_SERVICE_URL (environment) cannot be used: write ")


class TestInvalidValues:
    @pytest.mark.parametrize(
        ("variable", "text", "advice"),
        [
            ("LOG_LEVEL", "chatty", "write 'debug', 'info'"),
            ("BODY_LIMIT", "big", "write a size"),
            ("REQUEST_TIMEOUT", "-3", "write a duration"),
            ("RATE_LIMIT", "lots", "write a rate"),
            ("RATE_LIMIT", "0/minute", "write a rate"),
            ("CORS_ORIGINS", "*", "list the origins instead"),
            ("CORS_ORIGINS", "https://shop.example/path", "is not an origin"),
            ("CORS_ORIGINS", '["https://shop.example"', "JSON array"),
            ("CORS_ORIGINS", "[1]", "is not an origin"),
            ("TRUSTED_PROXIES", "everyone", "is not an address or network"),
            ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
            ("LOG_FORMAT", "xml", "write 'json' or 'text'"),
        ],
    )
    def test_the_message_says_what_to_write(self, variable: str, text: str, advice: str) -> None:
        message = error_message(**{variable: text})

        assert message.startswith(f"{variable}={text} (environment) cannot be used: ")
        assert advice in message

    def test_all_mistakes_are_reported_at_once(self) -> None:
        with pytest.raises(SettingsError) as refused:
            read_loans({"LOANS_DAYS": "0", "HOLD_TIME": "soon", "SHELF_KEY": "a", "SHELF_SECRET": "b"})

        assert len(refused.value.messages) == 3

    @pytest.mark.parametrize("variable", ["REDIS_URL", "RABBITMQ_URL", "NATS_URL", "KAFKA_URL"])
    def test_an_address_is_not_repeated_because_it_may_contain_a_password(self, variable: str) -> None:
        message = error_message(**{variable: "redis//:hunter2@cache"})

        assert message.startswith(f"{variable} (environment) cannot be used: write an address such as ")
        assert "hunter2" not in message

    def test_two_brokers_are_rejected(self) -> None:
        message = error_message(RABBITMQ_URL="amqp://me:hunter2@one/", NATS_URL="nats://me:hunter2@two")

        assert message.startswith("RABBITMQ_URL and NATS_URL are set")
        assert "hunter2" not in message

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"TLS_KEY": "gateway.key"}, "TLS_CERTIFICATE and TLS_KEY belong together"),
            ({"TLS_CERTIFICATE": "gateway.crt"}, "TLS_CERTIFICATE and TLS_KEY belong together"),
            (
                {"TLS_CERTIFICATE": "gateway.crt", "TLS_KEY": "gateway.key", "PROXY_PROTOCOL": "true"},
                "PROXY_PROTOCOL and TLS_CERTIFICATE are set",
            ),
        ],
    )
    def test_settings_of_tls_that_do_not_fit_are_rejected(self, variables: dict[str, str], expected: str) -> None:
        assert error_message(**variables).startswith(expected)


class TestServiceSettings:
    def test_a_service_reads_prefixed_variables_from_the_same_environment(self) -> None:
        loaded = read_loans({"LOANS_DAYS": "7", "DAYS": "9", "SHELF_SECRET": "sesame", "LOG_LEVEL": "debug"})

        assert loaded.value == LoansSettings(days=7, shelf_key=Secret("sesame"))

    def test_a_setting_without_a_default_is_required(self) -> None:
        assert error_message(DepositSettings) == "DEPOSITS_ACCOUNT is not set: Account that receives deposits."


class Overlapping(ServiceSettings, env_prefix="SHELVES_"):
    key: str = Field("", validation_alias="SHELF_SECRET")
    log_level: str = Field("", validation_alias="LOG_LEVEL")


class TestCheckVariables:
    def test_distinct_variables_are_accepted(self) -> None:
        check_variables({"the kit": Settings, "loans": LoansSettings, "deposits": DepositSettings})

    def test_a_variable_of_two_services_or_of_the_kit_is_rejected(self) -> None:
        with pytest.raises(SettingsError) as refused:
            check_variables({"the kit": Settings, "loans": LoansSettings, "shelves": Overlapping})

        assert [message.partition(". ")[0] for message in refused.value.messages] == [
            "SHELF_SECRET is a setting of both loans and shelves",
            "LOG_LEVEL is a setting of both the kit and shelves",
        ]


class TestEntries:
    def test_secrets_are_masked(self) -> None:
        loaded = read({"DATABASE_URL": "postgresql://me:hunter2@db/shop", "SECRET_KEY": "hunter2", "HOST": "::1"})

        entries = {setting.variable: setting for setting in loaded.entries()}

        assert entries["DATABASE_URL"].value == "postgresql://me:***@db/shop"
        assert entries["SECRET_KEY"].value == "***"
        assert (entries["HOST"].value, entries["HOST"].origin) == ("::1", "environment")
        assert entries["RATE_LIMIT"].value == "100/minute"
        assert "{NAME}_SERVICE_URL" in entries

    def test_the_text_form_hides_secrets(self) -> None:
        loaded = read({"DATABASE_URL": "postgresql://me:hunter2@db/shop", "SECRET_KEY": "hunter2"})

        assert "hunter2" not in repr(loaded)
