import asyncio
import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.services.identity import service
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, run_service

LEEWAY = 10
NUMBERS = itertools.count()


async def refresh(identity: Identity, token: str) -> Answer:
    return await identity.anonymous.post("/auth/refresh", json={"refresh_token": token})


class TestRefresh:
    async def test_returns_a_new_pair(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await refresh(identity, ada.refresh_token)

        assert answer.status_code == 200
        given: dict[str, Any] = answer.json()
        assert given["refresh_token"] != ada.refresh_token
        assert (await identity.person(given).get("/auth/me")).status_code == 200

    async def test_used_token_is_accepted_within_the_leeway(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await refresh(identity, ada.refresh_token)

        identity.advance(LEEWAY)
        again = await refresh(identity, ada.refresh_token)

        assert again.status_code == 200
        assert (await identity.person(again.json()).get("/auth/me")).status_code == 200

    async def test_reuse_of_a_rotated_refresh_token_revokes_the_family(self, identity: Identity) -> None:
        ada = await identity.new_person()
        newest = (await refresh(identity, ada.refresh_token)).json()
        identity.advance(LEEWAY + 1)

        stolen = await refresh(identity, ada.refresh_token)

        assert (stolen.status_code, stolen.json()["code"]) == (401, "refresh_refused")
        assert (await refresh(identity, newest["refresh_token"])).status_code == 401
        assert await identity.reason(newest["access_token"]) == "revoked"
        assert len(await identity.audited("refresh_token.reused")) == 1

    async def test_reuse_does_not_affect_other_sessions(self, identity: Identity) -> None:
        ada = await identity.new_person()
        other = await identity.sign_in()
        await refresh(identity, ada.refresh_token)
        identity.advance(LEEWAY + 1)
        await refresh(identity, ada.refresh_token)

        assert (await other.get("/auth/me")).status_code == 200

    async def test_unknown_token_is_rejected(self, embedded: Identity) -> None:
        assert (await refresh(embedded, "nonsense")).status_code == 401

    async def test_token_expires_after_thirty_unused_days(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        embedded.advance(30 * 86_400)

        assert (await refresh(embedded, ada.refresh_token)).status_code == 401

    async def test_each_refresh_extends_the_session(self, embedded: Identity) -> None:
        token = (await embedded.new_person()).refresh_token
        for _ in range(4):
            embedded.advance(20 * 86_400)
            token = (await refresh(embedded, token)).json()["refresh_token"]

        assert (await refresh(embedded, token)).status_code == 200

    async def test_concurrent_refreshes_all_succeed(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answers = await asyncio.gather(*(refresh(identity, ada.refresh_token) for _ in range(5)))

        assert [answer.status_code for answer in answers] == [200] * 5
        assert (await refresh(identity, answers[0].json()["refresh_token"])).status_code == 200

    async def test_deactivated_user_cannot_refresh(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()
        await admin.patch(f"/users/{ada.user_id}", json={"is_active": False})

        assert (await refresh(embedded, ada.refresh_token)).status_code == 401


STEPS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 4, LEEWAY + 1])), min_size=1, max_size=8)


class TestTokenFamily:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(STEPS)
    def test_ends_exactly_when_a_used_token_is_presented_after_the_leeway(
        self, sqlite_databases: Databases, steps: list[tuple[int, int]]
    ) -> None:
        """Present any token of the family at any time. The family ends when a used token comes after the leeway."""
        asyncio.run(self.play(sqlite_databases, steps))

    async def play(self, databases: Databases, steps: list[tuple[int, int]]) -> None:
        variables = VARIABLES | {"SECRET_KEY": "the same secret at every start of it"}
        async with run_service(service, databases, variables=variables, system=SYSTEM) as run:
            identity = Identity(run)
            tokens = [(await identity.new_person(f"ada{next(NUMBERS)}@example.com")).refresh_token]
            used_at: dict[str, float] = {}
            alive, now = True, 0.0
            for which, wait in steps:
                identity.advance(wait)
                now += wait
                token = tokens[which % len(tokens)]
                alive = alive and now <= used_at.get(token, now) + LEEWAY
                answer = await refresh(identity, token)
                assert answer.status_code == (200 if alive else 401)
                if alive:
                    used_at.setdefault(token, now)
                    tokens.append(answer.json()["refresh_token"])
