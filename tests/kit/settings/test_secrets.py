import json
import multiprocessing
import secrets
import stat
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from portico.kit.settings import (
    Generated,
    NamesServer,
    Secret,
    ServiceSettings,
    Settings,
    SettingsError,
    check_server_passwords,
    check_settings,
    embedded_secrets,
    is_private,
    secrets_for,
    with_secrets,
)
from portico.kit.settings.secrets import is_well_known

STRONG = Secret("vN2x0qYd8oTq3Hk5mZ7cRw1uLb9sEj4g")
SERVER = "postgresql://me:a-good-one@db/shop"


def generated_by_a_process(folder: str) -> str:
    return embedded_secrets(Path(folder))["secret_key"].get_secret_value()


class TestEmbeddedSecrets:
    def test_they_are_generated_once(self, tmp_path: Path) -> None:
        assert embedded_secrets(tmp_path / "new") == embedded_secrets(tmp_path / "new")

    def test_they_differ_between_directories(self, tmp_path: Path) -> None:
        assert embedded_secrets(tmp_path / "one") != embedded_secrets(tmp_path / "two")

    def test_only_the_owner_can_read_the_file(self, tmp_path: Path) -> None:
        embedded_secrets(tmp_path)

        assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]
        assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600

    def test_permissions_for_others_are_removed(self, tmp_path: Path) -> None:
        embedded_secrets(tmp_path)
        (tmp_path / "secrets.json").chmod(0o644)

        embedded_secrets(tmp_path)

        assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600

    def test_processes_that_start_concurrently_agree(self, tmp_path: Path) -> None:
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            made = pool.map(generated_by_a_process, [str(tmp_path)] * 16)

        assert len(set(made)) == 1

    @pytest.mark.parametrize("damage", ["", "{", "[]", '{"secret_key": "x"}'])
    def test_a_damaged_file_is_not_replaced(self, tmp_path: Path, damage: str) -> None:
        (tmp_path / "secrets.json").write_text(damage)

        with pytest.raises(SettingsError, match=r"is damaged\. Restore it"):
            embedded_secrets(tmp_path)

    def test_a_directory_that_cannot_be_created_is_rejected(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(SettingsError, match="set DATA_DIR to a writable one"):
            embedded_secrets(tmp_path / "file" / "folder")


class TestSecretsFor:
    def test_an_embedded_system_generates_its_secrets(self, tmp_path: Path) -> None:
        found = secrets_for(Settings(data_dir=tmp_path))

        stored = json.loads((tmp_path / "secrets.json").read_text())
        assert found.secret_key.get_secret_value() == stored["secret_key"]
        assert found.service_secret.get_secret_value() == stored["service_secret"]
        assert found.generated

    def test_a_configured_secret_takes_precedence(self, tmp_path: Path) -> None:
        found = secrets_for(Settings(data_dir=tmp_path, secret_key=Secret("short")))

        assert found.secret_key == Secret("short")

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(database_url=SERVER),
            Settings(database_url="postgresql://me@localhost/shop"),
            Settings(redis_url="redis://cache"),
            Settings(host="0.0.0.0"),  # noqa: S104 an example
        ],
    )
    def test_a_real_server_or_a_public_address_requires_them(self, settings: Settings, tmp_path: Path) -> None:
        with pytest.raises(SettingsError) as refused:
            secrets_for(settings.model_copy(update={"data_dir": tmp_path / "none"}))

        assert [message.split()[0] for message in refused.value.messages] == ["SECRET_KEY", "SERVICE_SECRET"]
        assert "secrets.token_urlsafe" in str(refused.value)
        assert not (tmp_path / "none").exists()

    def test_strong_secrets_are_accepted(self) -> None:
        found = secrets_for(Settings(database_url=SERVER, secret_key=STRONG, service_secret=STRONG))

        assert found.secret_key == STRONG

    def test_only_needed_secrets_are_required(self) -> None:
        found = secrets_for(Settings(database_url=SERVER, service_secret=STRONG), needs=["service_secret"])

        assert found.secret_key.get_secret_value() != ""

    @pytest.mark.parametrize(
        ("value", "why"),
        [("aB3dE5gH7jK9", "shorter than 32"), ("change-me-" * 8, "a well-known value"), ("", "a well-known value")],
    )
    def test_weak_secrets_are_rejected_without_being_repeated(self, value: str, why: str) -> None:
        settings = Settings(database_url=SERVER, secret_key=Secret(value), service_secret=STRONG)

        with pytest.raises(SettingsError, match=f"SECRET_KEY is .*{why}") as refused:
            secrets_for(settings)

        assert not value or value not in str(refused.value)

    def test_their_text_form_hides_them(self) -> None:
        found = secrets_for(Settings(database_url=SERVER, secret_key=STRONG, service_secret=STRONG))

        assert STRONG.get_secret_value() not in repr(found)


class CardSettings(ServiceSettings, env_prefix="CARDS_"):
    webhook_secret: Annotated[Secret | None, Generated()] = Field(None)
    signing: str = "keys"
    signing_secret: Annotated[Secret | None, Generated(when=lambda cards: cards.signing == "secret")] = Field(None)
    terminal_url: Annotated[str | None, NamesServer()] = Field(None)


class TestWithSecrets:
    def test_a_private_system_derives_them(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path)

        one, again = (with_secrets(CardSettings(), settings).webhook_secret for _ in range(2))

        assert one is not None
        assert one == again
        assert one not in embedded_secrets(tmp_path).values()
        assert len(one.get_secret_value()) >= 32

    def test_each_secret_is_distinct(self, tmp_path: Path) -> None:
        cards = with_secrets(CardSettings(signing="secret"), Settings(data_dir=tmp_path))

        assert cards.signing_secret is not None
        assert cards.signing_secret != cards.webhook_secret

    def test_a_secret_that_is_not_needed_is_not_generated(self, tmp_path: Path) -> None:
        assert with_secrets(CardSettings(), Settings(data_dir=tmp_path)).signing_secret is None

    def test_a_configured_secret_takes_precedence(self, tmp_path: Path) -> None:
        cards = with_secrets(CardSettings(webhook_secret=Secret("short")), Settings(data_dir=tmp_path))

        assert cards.webhook_secret == Secret("short")

    def test_a_server_requires_them(self) -> None:
        with pytest.raises(SettingsError) as refused:
            with_secrets(CardSettings(signing="secret"), Settings(database_url=SERVER))

        assert [message.split()[0] for message in refused.value.messages] == [
            "CARDS_WEBHOOK_SECRET",
            "CARDS_SIGNING_SECRET",
        ]

    def test_a_server_of_the_service_requires_the_kits_secrets_too(self, tmp_path: Path) -> None:
        settings, cards = Settings(data_dir=tmp_path), CardSettings(terminal_url="redis://cards.example")

        assert is_private(settings)
        assert not is_private(settings, cards)
        with pytest.raises(SettingsError, match="CARDS_TERMINAL_URL names a real server"):
            secrets_for(settings, cards)


class TestCheckSettings:
    def test_all_mistakes_are_reported_at_once(self) -> None:
        own = {"cards": CardSettings(terminal_url="redis://:password@cards.example")}

        with pytest.raises(SettingsError) as refused:
            check_settings(Settings(), own, needs=["service_secret"])

        assert [message.split()[0] for message in refused.value.messages] == [
            "CARDS_TERMINAL_URL",
            "SERVICE_SECRET",
            "CARDS_WEBHOOK_SECRET",
        ]


class TestPrivateServers:
    PRIVATE = "postgresql://portico:a-good-one@127.0.0.1:5433/portico"

    def test_secrets_are_generated(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, database_url=self.PRIVATE, private_servers=True)

        assert is_private(settings)
        assert secrets_for(settings).secret_key == embedded_secrets(tmp_path)["secret_key"]

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(database_url=PRIVATE),
            Settings(database_url=SERVER, private_servers=True),
            Settings(database_url=PRIVATE, private_servers=True, host="0.0.0.0"),  # noqa: S104 the case under test
        ],
        ids=["not declared private", "on another machine", "public address"],
    )
    def test_any_other_server_requires_configured_secrets(self, settings: Settings) -> None:
        assert not is_private(settings)
        with pytest.raises(SettingsError, match="SECRET_KEY is not set"):
            secrets_for(settings)


class TestIsWellKnown:
    @pytest.mark.parametrize(
        "text",
        [
            "changeme",
            "Change-Me!",
            "your-secret-key-change-in-production",
            "secret" * 10,
            "secret123",
            "a" * 64,
            "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        ],
    )
    def test_secrets_of_tutorials(self, text: str) -> None:
        assert is_well_known(text)

    def test_random_values_are_not(self) -> None:
        assert not any(
            is_well_known(secrets.token_urlsafe(48)) or is_well_known(secrets.token_hex(32)) for _ in range(99)
        )


class TestCheckServerPasswords:
    @pytest.mark.parametrize(
        "url",
        ["postgresql://postgres:postgres@db/shop", "mysql://root:root@db/{service}", "mysql://shop:shop@db/{service}"],
    )
    def test_a_well_known_password_is_rejected_for_another_machine(self, url: str) -> None:
        with pytest.raises(SettingsError, match="DATABASE_URL contains a well-known password"):
            check_server_passwords(Settings(database_url=url))

    def test_it_causes_a_warning_on_this_machine(self) -> None:
        settings = Settings(database_url="postgresql://postgres:postgres@localhost/shop")

        assert [warning.split()[0] for warning in check_server_passwords(settings)] == ["DATABASE_URL"]

    def test_redis_is_checked(self) -> None:
        with pytest.raises(SettingsError, match="REDIS_URL"):
            check_server_passwords(Settings(redis_url="redis://:foobared@cache"))

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(rabbitmq_url="amqp://shop:rabbitmq@broker:5672/"),
            Settings(rabbitmq_url="amqp://broker/"),
            Settings(nats_url="nats://shop:Kq7vw2Lx@one:4222,nats://shop:shop@two:4222"),
            Settings(kafka_url="kafka://admin:admin@one:9092,two:9092"),
        ],
    )
    def test_brokers_are_checked(self, settings: Settings) -> None:
        with pytest.raises(SettingsError, match=r"(RABBITMQ|NATS|KAFKA)_URL contains a well-known password"):
            check_server_passwords(settings)

    def test_strong_and_absent_passwords_are_accepted(self) -> None:
        assert check_server_passwords(Settings(database_url=SERVER, redis_url="redis://cache")) == []
