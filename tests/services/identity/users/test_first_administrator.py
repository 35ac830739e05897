import pytest
from tests.services.identity.accounts import ADMIN, CHEAP_HASHING, PASSWORD, SYSTEM, VARIABLES, Identity

from portico.kit.settings import SettingsError
from portico.services.identity import service
from portico.services.identity.errors import EmailTaken
from portico.services.identity.users.first_administrator import (
    EMBEDDED_ADMINISTRATOR,
    FirstAdministrator,
    NewUser,
    create_account,
)
from portico.testing.databases import Databases
from portico.testing.running_service import run_service

SECRET = {"SECRET_KEY": "a secret key of more than enough letters"}


class TestFirstStart:
    async def test_creates_the_configured_administrator(self, identity: Identity) -> None:
        admin = await identity.administrator()

        assert (await admin.get("/auth/me")).json()["roles"] == ["administrator"]
        made = identity.run.context.resource(FirstAdministrator)
        assert made == FirstAdministrator(ADMIN, None)

    async def test_embedded_default_generates_a_password_once(self, sqlite_databases: Databases) -> None:
        variables = CHEAP_HASHING | SECRET
        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM) as run:
            made = run.context.resource(FirstAdministrator)
            assert made.email == EMBEDDED_ADMINISTRATOR
            assert (await Identity(run).try_to_sign_in(made.email, made.password or "")).status_code == 200

        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM) as run:
            assert run.context.resource(FirstAdministrator) == FirstAdministrator()

    async def test_server_database_gets_no_generated_administrator(self, server_databases: Databases) -> None:
        async with run_service(service, server_databases, variables=CHEAP_HASHING, system=SYSTEM) as run:
            assert run.context.resource(FirstAdministrator) == FirstAdministrator()

    @pytest.mark.parametrize(
        "wrong",
        [{"ADMIN_PASSWORD": "short"}, {"ADMIN_PASSWORD": "password"}, {"ADMIN_EMAIL": "not-an-address"}],
        ids=["short", "common", "email"],
    )
    async def test_invalid_administrator_settings_name_the_variable(
        self, sqlite_databases: Databases, wrong: dict[str, str]
    ) -> None:
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            async with run_service(service, sqlite_databases, variables=VARIABLES | wrong, system=SYSTEM):
                pass

    async def test_a_password_without_an_email_is_rejected(self, sqlite_databases: Databases) -> None:
        variables = VARIABLES | {"ADMIN_EMAIL": "", "ADMIN_PASSWORD": PASSWORD}

        with pytest.raises(SettingsError, match="ADMIN_EMAIL is not"):
            async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM):
                pass


class TestCreateAccount:
    async def test_assigns_the_given_roles(self, identity: Identity) -> None:
        new = NewUser("grace@example.com", PASSWORD, "Grace", ("administrator",))

        user_id = await create_account(identity.run.context, new)

        grace = await identity.sign_in("grace@example.com")
        assert grace.user_id == user_id
        assert (await grace.get("/users")).status_code == 200

    async def test_taken_email_is_rejected(self, embedded: Identity) -> None:
        with pytest.raises(EmailTaken):
            await create_account(embedded.run.context, NewUser(ADMIN, PASSWORD))
