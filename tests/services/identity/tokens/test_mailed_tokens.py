import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine
from tests.services.identity.accounts import ROLES, VARIABLES, Identity, Person

from portico.contracts.identity import EmailVerificationRequested, MailedTokenSeal, PasswordResetRequested
from portico.kit import System
from portico.services.identity import service
from portico.services.identity.jobs import delete_expired_rows
from portico.services.identity.tokens.mailed_tokens import MailedTokens
from portico.services.identity.tokens.models import MailedToken
from portico.services.notifications import service as notifications
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, run_service

NEW = "a whole new password"
WITH_MAIL = System(
    "shop",
    "A system with mails",
    gateway=1,
    services={service: 2, notifications: 3},
    roles=ROLES,
    default_role="customer",
)


@pytest.fixture
async def mailing(databases: Databases) -> AsyncIterator[Identity]:
    """Identity in a system with notifications, on each database. `mailed` handles the requests."""
    async with run_service(service, databases, variables=VARIABLES, system=WITH_MAIL, background=False) as run:
        yield Identity(run)


@pytest.fixture
async def embedded_mailing(sqlite_databases: Databases) -> AsyncIterator[Identity]:
    async with run_service(service, sqlite_databases, variables=VARIABLES, system=WITH_MAIL, background=False) as run:
        yield Identity(run)


async def forget(identity: Identity, email: str = "ada@example.com") -> Answer:
    return await identity.anonymous.post("/auth/password-reset", json={"email": email})


async def reset(identity: Identity, token: str, password: str = NEW) -> Answer:
    return await identity.anonymous.post("/auth/password-reset/confirm", json={"token": token, "password": password})


async def verify(identity: Identity, token: str) -> Answer:
    return await identity.anonymous.post("/auth/email-verification/confirm", json={"token": token})


async def mailed(
    identity: Identity, kind: type[PasswordResetRequested] | type[EmailVerificationRequested] = PasswordResetRequested
) -> list[str]:
    """Handle the waiting requests, and return the tokens of all events so far as their mails would show them."""
    await identity.run.context.resource(MailedTokens).handle_requests()
    seal = MailedTokenSeal(identity.run.context.secrets.service_secret.get_secret_value())
    published = [each for each in await identity.run.published() if isinstance(each, kind)]
    return [seal.open(each.sealed_token, each.user_id) for each in published]


async def forgotten(identity: Identity) -> str:
    """Request a reset for ada and return the token of the mail."""
    assert (await forget(identity)).status_code == 202
    return (await mailed(identity))[-1]


class TestPasswordReset:
    async def test_sets_a_new_password_and_ends_all_sessions(self, mailing: Identity) -> None:
        ada = await mailing.new_person()
        token = await forgotten(mailing)

        assert (await reset(mailing, token)).status_code == 204

        assert (await ada.get("/auth/me")).status_code == 401
        assert (await mailing.try_to_sign_in()).status_code == 401
        again = await mailing.sign_in(password=NEW)
        assert (await again.get("/auth/me")).json()["email_verified"] is True
        assert len(await mailing.audited("user.password_reset")) == 1

    async def test_token_works_once_and_makes_older_ones_worthless(self, mailing: Identity) -> None:
        await mailing.register()
        older, newer = await forgotten(mailing), await forgotten(mailing)
        assert older != newer

        answers = await asyncio.gather(*(reset(mailing, newer) for _ in range(3)))

        assert sorted(answer.status_code for answer in answers) == [204, 422, 422]
        refused = await reset(mailing, older)
        assert (refused.status_code, refused.json()["code"]) == (422, "mailed_token_invalid")

    async def test_token_expires_after_an_hour(self, embedded_mailing: Identity) -> None:
        await embedded_mailing.register()
        token = await forgotten(embedded_mailing)

        embedded_mailing.advance(3600)

        assert (await reset(embedded_mailing, token)).status_code == 422

    async def test_rejected_password_leaves_the_token_valid(self, embedded_mailing: Identity) -> None:
        await embedded_mailing.register()
        token = await forgotten(embedded_mailing)

        assert (await reset(embedded_mailing, token, "password")).json()["code"] == "password_guessable"
        assert (await reset(embedded_mailing, token)).status_code == 204

    async def test_ends_the_lock_of_the_account(self, embedded_mailing: Identity) -> None:
        await embedded_mailing.register()
        for _ in range(10):
            await embedded_mailing.try_to_sign_in(password="wrong horse battery")

        await reset(embedded_mailing, await forgotten(embedded_mailing))

        assert (await embedded_mailing.try_to_sign_in(password=NEW)).status_code == 200

    async def test_deactivated_user_gets_no_mail_and_cannot_use_one(self, embedded_mailing: Identity) -> None:
        ada, admin = await embedded_mailing.new_person(), await embedded_mailing.administrator()
        token = await forgotten(embedded_mailing)
        await admin.patch(f"/users/{ada.user_id}", json={"is_active": False})

        assert (await reset(embedded_mailing, token)).status_code == 422
        assert await forgotten(embedded_mailing) == token

    async def test_user_gets_at_most_five_mails_an_hour(self, embedded_mailing: Identity) -> None:
        await embedded_mailing.register()
        for _ in range(7):
            await forgotten(embedded_mailing)
        assert len(await mailed(embedded_mailing)) == 5

        embedded_mailing.advance(3601)
        await delete_expired_rows.function(embedded_mailing.run.context)

        await forgotten(embedded_mailing)
        assert len(await mailed(embedded_mailing)) == 6

    async def test_repeated_requests_wait_as_one(self, embedded_mailing: Identity) -> None:
        await embedded_mailing.register()
        for spelling in ("ada@example.com", "ADA@example.com"):
            await forget(embedded_mailing, spelling)

        assert len(await mailed(embedded_mailing)) == 1


class TestUnknownAddress:
    async def test_response_and_statements_are_the_same_as_for_a_known_one(self, embedded_mailing: Identity) -> None:
        """The time of a response is that of its statements: what differs is done after it."""
        await embedded_mailing.register()
        await forget(embedded_mailing, "warm.up@example.com")
        seen: list[tuple[int, object, list[str]]] = []
        for address in ("ada@example.com", "bob@example.com", "nonsense"):
            statements: list[str] = []

            def record(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
                statements.append(statement)  # noqa: B023  the listener is removed before the next loop

            event.listen(Engine, "before_cursor_execute", record)
            answer = await forget(embedded_mailing, address)
            event.remove(Engine, "before_cursor_execute", record)
            seen.append((answer.status_code, answer.json(), statements))

        assert seen[0][0] == 202
        assert any("mail_requests" in statement for statement in seen[0][2])
        assert seen[0] == seen[1] == seen[2]

    async def test_gets_no_mail(self, embedded_mailing: Identity) -> None:
        await forget(embedded_mailing, "bob@example.com")

        assert await mailed(embedded_mailing) == []


class TestSecrecy:
    async def test_token_is_stored_and_published_in_no_readable_form(self, mailing: Identity) -> None:
        await mailing.register()
        token = await forgotten(mailing)

        (published,) = [each for each in await mailing.run.published() if isinstance(each, PasswordResetRequested)]
        async with mailing.run.context.reader() as reader:
            (stored,) = await reader.all(select(MailedToken))
        assert token not in str(published)
        assert token not in str(vars(stored))

    async def test_token_works_for_its_purpose_only(self, embedded_mailing: Identity) -> None:
        await embedded_mailing.register()

        assert (await verify(embedded_mailing, await forgotten(embedded_mailing))).status_code == 422


class TestEmailVerification:
    async def requested(self, identity: Identity, ada: Person) -> str:
        assert (await ada.post("/auth/email-verification")).status_code == 202
        return (await mailed(identity, EmailVerificationRequested))[-1]

    async def test_verifies_the_address(self, mailing: Identity) -> None:
        ada = await mailing.new_person()
        assert (await ada.get("/auth/me")).json()["email_verified"] is False

        answer = await verify(mailing, await self.requested(mailing, ada))

        assert (answer.status_code, answer.json()["email_verified"]) == (200, True)
        assert (await ada.get("/auth/me")).json()["email_verified"] is True
        again = await ada.post("/auth/email-verification")
        assert (again.status_code, again.json()["code"]) == (409, "email_already_verified")

    async def test_token_works_once_within_a_day(self, embedded_mailing: Identity) -> None:
        ada = await embedded_mailing.new_person()
        first = await self.requested(embedded_mailing, ada)
        embedded_mailing.advance(timedelta(days=1).total_seconds())
        assert (await verify(embedded_mailing, first)).status_code == 422
        ada = await embedded_mailing.sign_in()

        second = await self.requested(embedded_mailing, ada)

        assert [(await verify(embedded_mailing, second)).status_code for _ in range(2)] == [200, 422]

    async def test_requires_a_token(self, embedded_mailing: Identity) -> None:
        assert (await embedded_mailing.anonymous.post("/auth/email-verification")).status_code == 401


class TestSystemWithoutMails:
    async def test_says_what_is_missing(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        for answer in (await forget(embedded), await ada.post("/auth/email-verification")):
            assert (answer.status_code, answer.json()["code"]) == (404, "mail_unavailable")
            assert "portico users reset-password" in answer.json()["detail"]
