import json
import multiprocessing
import secrets
import stat
from pathlib import Path

import pytest

from portico.kit.settings import (
    Secret,
    Settings,
    SettingsError,
    check_server_passwords,
    embedded_secrets,
    is_private,
    secrets_for,
)
from portico.kit.settings.secrets import is_well_known

STRONG = Secret("vN2x0qYd8oTq3Hk5mZ7cRw1uLb9sEj4g")
SERVER = "postgresql://me:a-good-one@db/shop"


def made_by_a_process(folder: str) -> str:
    return embedded_secrets(Path(folder))["secret_key"].get_secret_value()


class TestEmbeddedSecrets:
    def test_they_are_made_once(self, tmp_path: Path) -> None:
        assert embedded_secrets(tmp_path / "new") == embedded_secrets(tmp_path / "new")

    def test_they_differ_between_folders(self, tmp_path: Path) -> None:
        assert embedded_secrets(tmp_path / "one") != embedded_secrets(tmp_path / "two")

    def test_only_their_owner_may_read_them(self, tmp_path: Path) -> None:
        embedded_secrets(tmp_path)

        assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]
        assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600

    def test_a_file_that_others_could_read_is_closed_to_them(self, tmp_path: Path) -> None:
        embedded_secrets(tmp_path)
        (tmp_path / "secrets.json").chmod(0o644)

        embedded_secrets(tmp_path)

        assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600

    def test_processes_that_start_at_once_agree(self, tmp_path: Path) -> None:
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            made = pool.map(made_by_a_process, [str(tmp_path)] * 16)

        assert len(set(made)) == 1

    @pytest.mark.parametrize("damage", ["", "{", "[]", '{"secret_key": "x"}'])
    def test_a_damaged_file_is_not_replaced(self, tmp_path: Path, damage: str) -> None:
        (tmp_path / "secrets.json").write_text(damage)

        with pytest.raises(SettingsError, match="is damaged: restore it"):
            embedded_secrets(tmp_path)

    def test_a_folder_that_cannot_be_made_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(SettingsError, match="set DATA_DIR to one that is"):
            embedded_secrets(tmp_path / "file" / "folder")


class TestSecretsFor:
    def test_the_embedded_default_makes_its_own(self, tmp_path: Path) -> None:
        found = secrets_for(Settings(data_dir=tmp_path))

        kept = json.loads((tmp_path / "secrets.json").read_text())
        assert found.secret_key.get_secret_value() == kept["secret_key"]
        assert found.service_secret.get_secret_value() == kept["service_secret"]
        assert found.jwt_secret is None

    def test_one_that_is_given_is_used_there_too(self, tmp_path: Path) -> None:
        found = secrets_for(Settings(data_dir=tmp_path, secret_key=Secret("short")))

        assert found.secret_key == Secret("short")

    def test_webhooks_are_signed_by_a_secret_of_their_own(self, tmp_path: Path) -> None:
        one, again = (secrets_for(Settings(data_dir=tmp_path), needs=["webhook_secret"]) for _ in range(2))

        assert one.webhook_secret == again.webhook_secret
        assert one.webhook_secret not in {one.secret_key, one.service_secret}
        assert (
            json.loads((tmp_path / "secrets.json").read_text())["webhook_secret"]
            == one.webhook_secret.get_secret_value()
        )
        assert len(one.webhook_secret.get_secret_value()) >= 32

    def test_hs256_has_a_secret(self, tmp_path: Path) -> None:
        assert secrets_for(Settings(data_dir=tmp_path, jwt_algorithm="HS256")).jwt_secret is not None

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(database_url=SERVER),
            Settings(database_url="postgresql://me@localhost/shop"),
            Settings(redis_url="redis://cache"),
            Settings(host="0.0.0.0"),  # noqa: S104 an example
        ],
    )
    def test_a_real_server_or_a_public_address_wants_them_given(self, settings: Settings, tmp_path: Path) -> None:
        with pytest.raises(SettingsError) as refused:
            secrets_for(settings.model_copy(update={"data_dir": tmp_path / "none"}))

        assert [sentence.split()[0] for sentence in refused.value.sentences] == ["SECRET_KEY", "SERVICE_SECRET"]
        assert "secrets.token_urlsafe" in str(refused.value)
        assert not (tmp_path / "none").exists()

    def test_strong_ones_are_accepted(self) -> None:
        found = secrets_for(Settings(database_url=SERVER, secret_key=STRONG, service_secret=STRONG))

        assert found.secret_key == STRONG

    def test_only_what_is_needed_is_asked_for(self) -> None:
        found = secrets_for(Settings(database_url=SERVER, service_secret=STRONG), needs=["service_secret"])

        assert found.secret_key.get_secret_value() != ""

    def test_a_server_wants_the_secret_of_webhooks_where_there_are_any(self) -> None:
        settings = Settings(database_url=SERVER, secret_key=STRONG, service_secret=STRONG)

        secrets_for(settings, needs=["service_secret"])
        with pytest.raises(SettingsError, match="WEBHOOK_SECRET is not set"):
            secrets_for(settings, needs=["service_secret", "webhook_secret"])

    def test_hs256_on_a_server_wants_its_secret(self) -> None:
        settings = Settings(database_url=SERVER, secret_key=STRONG, service_secret=STRONG, jwt_algorithm="HS256")

        with pytest.raises(SettingsError, match="JWT_SECRET is not set"):
            secrets_for(settings)

    @pytest.mark.parametrize(
        ("value", "why"),
        [("aB3dE5gH7jK9", "shorter than 32"), ("change-me-" * 8, "everybody knows"), ("", "everybody")],
    )
    def test_weak_ones_are_refused_without_being_repeated(self, value: str, why: str) -> None:
        settings = Settings(database_url=SERVER, secret_key=Secret(value), service_secret=STRONG)

        with pytest.raises(SettingsError, match=f"SECRET_KEY is .*{why}") as refused:
            secrets_for(settings)

        assert not value or value not in str(refused.value)

    def test_their_text_shows_none_of_them(self) -> None:
        found = secrets_for(Settings(database_url=SERVER, secret_key=STRONG, service_secret=STRONG))

        assert STRONG.get_secret_value() not in repr(found)


class TestPrivateServers:
    PRIVATE = "postgresql://portico:a-good-one@127.0.0.1:5433/portico"

    def test_secrets_are_made_as_in_the_embedded_default(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, database_url=self.PRIVATE, private_servers=True)

        assert is_private(settings)
        assert secrets_for(settings).secret_key == embedded_secrets(tmp_path)["secret_key"]

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(database_url=PRIVATE),
            Settings(database_url=SERVER, private_servers=True),
            Settings(database_url=PRIVATE, private_servers=True, host="0.0.0.0"),  # noqa: S104 that is the point
        ],
        ids=["not said to be", "elsewhere", "open to others"],
    )
    def test_any_other_server_wants_them_given(self, settings: Settings) -> None:
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
    def test_what_tutorials_say(self, text: str) -> None:
        assert is_well_known(text)

    def test_what_is_random_is_not(self) -> None:
        assert not any(
            is_well_known(secrets.token_urlsafe(48)) or is_well_known(secrets.token_hex(32)) for _ in range(99)
        )


class TestCheckServerPasswords:
    @pytest.mark.parametrize(
        "url",
        ["postgresql://postgres:postgres@db/shop", "mysql://root:root@db/{service}", "mysql://shop:shop@db/{service}"],
    )
    def test_a_well_known_one_is_refused_off_this_machine(self, url: str) -> None:
        with pytest.raises(SettingsError, match="DATABASE_URL has a password that everybody tries first"):
            check_server_passwords(Settings(database_url=url))

    def test_it_is_warned_of_on_this_machine(self) -> None:
        settings = Settings(database_url="postgresql://postgres:postgres@localhost/shop")

        assert [warning.split()[0] for warning in check_server_passwords(settings)] == ["DATABASE_URL"]

    def test_redis_is_looked_at_too(self) -> None:
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
    def test_brokers_are_looked_at_too(self, settings: Settings) -> None:
        with pytest.raises(SettingsError, match=r"(RABBITMQ|NATS|KAFKA)_URL has a password that everybody tries first"):
            check_server_passwords(settings)

    def test_a_good_one_and_none_pass(self) -> None:
        assert check_server_passwords(Settings(database_url=SERVER, redis_url="redis://cache")) == []
