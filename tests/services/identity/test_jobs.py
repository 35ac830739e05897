from sqlalchemy import func, select
from tests.services.identity.accounts import Identity

from portico.services.identity.jobs import delete_expired_rows
from portico.services.identity.models import RefreshToken, Revocation, Session
from portico.services.identity.tokens.models import SignInThrottle, Ticket

TABLES = (SignInThrottle, Revocation, RefreshToken, Session, Ticket)


async def left(identity: Identity) -> list[int]:
    async with identity.run.context.reader() as reader:
        return [(await reader.execute(select(func.count()).select_from(table))).scalar_one() for table in TABLES]


class TestDeleteExpiredRows:
    async def test_keeps_rows_that_have_not_expired(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await ada.post("/auth/tickets")
        await identity.try_to_sign_in(password="wrong")
        before = await left(identity)

        await delete_expired_rows.function(identity.run.context)

        assert await left(identity) == before

    async def test_deletes_all_rows_after_their_expiry(self, identity: Identity) -> None:
        ada, bob = await identity.new_person(), await identity.new_person("bob@example.com")
        await ada.post("/auth/tickets")
        await identity.try_to_sign_in(password="wrong")
        await bob.post("/auth/logout")

        identity.advance(40 * 86_400)
        await delete_expired_rows.function(identity.run.context)

        assert await left(identity) == [0] * len(TABLES)
