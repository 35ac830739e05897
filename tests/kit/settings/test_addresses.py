import inspect
from pathlib import Path

import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL

from portico.kit.settings import (
    DatabaseAddress,
    Settings,
    SettingsError,
    database_for,
    is_loopback,
    replica_for,
    servers_in,
)


def address(url: str, service: str = "identity") -> DatabaseAddress:
    return database_for(Settings(database_url=url), service)


def text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


class TestEmbedded:
    def test_each_service_has_a_file_in_the_data_folder(self, tmp_path: Path) -> None:
        found = database_for(Settings(data_dir=tmp_path), "identity")

        assert text(found.url) == f"sqlite+aiosqlite:///{tmp_path}/identity.db"
        assert found.embedded
        assert found.schema is None

    def test_a_configured_file_has_the_service_in_its_name(self) -> None:
        found = address("sqlite:////srv/{service}.db")

        assert text(found.url) == "sqlite+aiosqlite:////srv/identity.db"
        assert found.embedded

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:////srv/all.db"])
    def test_memory_and_a_shared_file_are_rejected_with_advice(self, url: str) -> None:
        with pytest.raises(SettingsError, match=r"sqlite:///folder/\{service\}\.db"):
            address(url)


class TestPostgreSQL:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg2"])
    def test_a_shared_database_has_a_schema_for_each_service(self, scheme: str) -> None:
        found = address(f"{scheme}://me:pw@db:5433/shop", "user-profiles")

        assert text(found.url) == "postgresql+asyncpg://me:pw@db:5433/shop"
        assert found.schema == "user_profiles"
        assert not found.embedded

    def test_separate_databases_need_no_schema(self) -> None:
        found = address("postgresql://me:pw@db/{service}_db")

        assert found == DatabaseAddress(URL.create("postgresql+asyncpg", "me", "pw", "db", database="identity_db"))

    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
    def test_any_password_is_preserved(self, password: str) -> None:
        url = URL.create("postgresql", "me", password, "db", database="shop")

        assert address(text(url)).url.password == password

    def test_libpq_tls_options_are_supported(self) -> None:
        found = address("postgresql://me:pw@db/shop?sslmode=require&application_name=shop")

        _, arguments = found.url.get_dialect()().create_connect_args(found.url)
        unset = dict.fromkeys(inspect.signature(_parse_connect_dsn_and_args).parameters)
        hosts, parsed = _parse_connect_dsn_and_args(**unset | arguments)

        assert hosts == [("db", 5432)]
        assert parsed.sslmode.name == "require"
        assert (parsed.user, parsed.password, parsed.database) == ("me", "pw", "shop")
        assert parsed.server_settings == {"application_name": "shop"}

    def test_options_of_the_driver_are_kept(self) -> None:
        assert dict(address("postgresql://db/shop?ssl=require").url.query) == {"ssl": "require"}

    def test_its_text_hides_the_password(self) -> None:
        assert "hunter2" not in repr(address("postgresql://me:hunter2@db/shop"))


class TestMySQL:
    @pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql", "mariadb+mariadbconnector"])
    def test_each_service_has_its_own_database(self, scheme: str) -> None:
        found = address(f"{scheme}://me:pw@db/{{service}}_db?charset=utf8mb4")

        assert text(found.url) == "mysql+asyncmy://me:pw@db/identity_db?charset=utf8mb4"

    def test_a_shared_database_is_rejected_with_advice(self) -> None:
        with pytest.raises(SettingsError, match=r"mysql://…/\{service\}_db"):
            address("mysql://me:pw@db/shop")


class TestRejections:
    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("nonsense", "is not a valid URL"),
            ("postgresql://me:hunter2@db:port/shop", "is not a valid URL"),
            ("oracle://me:hunter2@db/shop", "begins with oracle://"),
            ("postgresql://me:hunter2@db/{name}", r"contains \{name\}, but only \{service\}"),
            ("postgresql://me:hunter2@db", "names no database"),
            ("postgresql://me:hunter2@db/shop?connect_timeout=3", "connect_timeout"),
        ],
    )
    def test_the_message_has_advice_and_no_password(self, url: str, sentence: str) -> None:
        with pytest.raises(SettingsError, match=f"DATABASE_URL.*{sentence}") as refused:
            address(url)

        assert "hunter2" not in str(refused.value)
        assert refused.value.__cause__ is None


class TestReplica:
    def test_it_is_configured_like_the_database(self) -> None:
        settings = Settings(database_url="postgresql://db/shop", database_replica_url="postgresql://copy/shop")

        replica = replica_for(settings, "identity")

        assert replica is not None
        assert (replica.url.host, replica.schema) == ("copy", "identity")

    def test_it_is_optional(self) -> None:
        assert replica_for(Settings(), "identity") is None

    @pytest.mark.parametrize("url", [None, "mysql://db/{service}"])
    def test_a_replica_of_another_kind_is_rejected(self, url: str | None) -> None:
        with pytest.raises(SettingsError, match="DATABASE_REPLICA_URL must be a replica"):
            replica_for(Settings(database_url=url, database_replica_url="postgresql://copy/shop"), "identity")


class TestIsLoopback:
    @pytest.mark.parametrize(
        "host", [None, "", "localhost", "db.localhost", "127.0.0.1", "127.9.9.9", "::1", "/run/pg"]
    )
    def test_this_machine(self, host: str | None) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "db", "localhost.example.org"])  # noqa: S104 examples
    def test_elsewhere(self, host: str) -> None:
        assert not is_loopback(host)


class TestServersIn:
    def test_embedded_systems_have_none(self) -> None:
        assert servers_in(Settings(database_url="sqlite:///{service}.db")) == []

    @pytest.mark.parametrize(
        ("url", "local"),
        [
            ("postgresql://localhost/shop", True),
            ("postgresql:///shop?host=/run/postgresql", True),
            ("postgresql://db/shop", False),
            ("postgresql:///shop?host=127.0.0.1:1&host=db:2", False),
        ],
    )
    def test_a_server_is_local_if_all_its_hosts_are(self, url: str, local: bool) -> None:  # noqa: FBT001 an example
        assert [server.is_local for server in servers_in(Settings(database_url=url))] == [local]
