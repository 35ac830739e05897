from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.contracts.identity import SessionId
from portico.services.identity import service
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class TestSessions:
    async def test_are_listed_newest_first_and_mark_the_current_one(self, identity: Identity) -> None:
        ada = await identity.new_person()
        identity.advance(1)
        tablet = {"user-agent": "tablet/1.0", "x-forwarded-for": "203.0.113.9"}
        second = identity.person((await identity.try_to_sign_in(headers=tablet)).json())

        answer = await second.get("/auth/sessions")

        assert answer.headers["x-total-count"] == "2"
        newest, oldest = answer.json()
        assert (newest["device"], newest["address"], newest["current"]) == ("tablet/1.0", "203.0.113.9", True)
        assert not oldest["current"]
        assert (await ada.get("/auth/sessions")).json()[1]["current"]

    async def test_can_be_revoked(self, identity: Identity) -> None:
        ada = await identity.new_person()
        other = await identity.sign_in()
        session_id = (await other.get("/auth/sessions?limit=1")).json()[0]["session_id"]

        assert (await ada.delete(f"/auth/sessions/{session_id}")).status_code == 204

        assert (await other.get("/auth/me")).status_code == 401
        assert await identity.reason(other.access_token) == "revoked"
        assert (await ada.get("/auth/me")).status_code == 200
        assert len((await ada.get("/auth/sessions")).json()) == 1

    async def test_sessions_of_others_are_not_found(self, embedded: Identity) -> None:
        ada, bob = await embedded.new_person(), await embedded.new_person("bob@example.com")
        session_id = (await bob.get("/auth/sessions")).json()[0]["session_id"]

        assert (await ada.delete(f"/auth/sessions/{session_id}")).json()["code"] == "session_not_found"
        assert (await ada.delete(f"/auth/sessions/{SessionId.new()}")).status_code == 404
        assert (await ada.delete("/auth/sessions/nonsense")).status_code == 404
        assert (await bob.get("/auth/me")).status_code == 200

    async def test_sign_out_ends_the_session(self, identity: Identity) -> None:
        ada = await identity.new_person()

        assert (await ada.post("/auth/logout")).status_code == 204

        assert (await ada.get("/auth/me")).status_code == 401
        refreshed = await identity.anonymous.post("/auth/refresh", json={"refresh_token": ada.refresh_token})
        assert refreshed.status_code == 401

    async def test_least_recently_used_session_ends_beyond_the_limit(self, sqlite_databases: Databases) -> None:
        variables = {**VARIABLES, "IDENTITY_SESSIONS_PER_USER": "2"}
        async with run_service(service, sqlite_databases, variables=variables, system=SYSTEM) as run:
            identity = Identity(run)
            first = await identity.new_person()
            identity.advance(1)
            second = await identity.sign_in()
            identity.advance(1)

            third = await identity.sign_in()

            assert [(await each.get("/auth/me")).status_code for each in (first, second, third)] == [401, 200, 200]
