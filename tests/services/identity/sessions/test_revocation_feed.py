import asyncio
import io
from datetime import timedelta

import orjson
from tests.kit.executed import Statements
from tests.services.identity.accounts import Identity

from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.telemetry.logs import Logs, RequestLog
from portico.services.identity.service import revoke
from portico.testing.running_service import Answer, Caller


async def subjects(answer: Answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [entry["subject"] for entry in answer.json()["revocations"]]


async def feed(service: Caller, since: str | None = None) -> Answer:
    return await service.get("/auth/revocations" + (f"?since={since}" if since else ""))


class TestRevocationFeed:
    async def test_contains_an_ended_session(self, identity: Identity) -> None:
        service, ada = await identity.as_service(), await identity.new_person()
        before = (await feed(service)).json()["cursor"]
        session_id = (await ada.get("/auth/sessions")).json()[0]["session_id"]

        await ada.post("/auth/logout")

        answer = await feed(service, before)
        assert answer.json()["revocations"] == [
            {"kind": "session", "subject": session_id, "expires_at": "2026-01-05T10:00:00Z", "issued_before": None}
        ]
        assert await subjects(await feed(service, answer.json()["cursor"])) == []

    async def test_read_that_waits_is_answered_by_a_revocation(self, embedded: Identity) -> None:
        service, ada = await embedded.as_service(), await embedded.new_person()
        before = (await feed(service)).json()["cursor"]
        session_id = (await ada.get("/auth/sessions")).json()[0]["session_id"]

        reads = Statements(embedded.run.context.database.reader, count=2)  # of the caller's token, and of the feed
        reading = asyncio.create_task(service.get(f"/auth/revocations?since={before}&wait=5"))
        await reads.executed.wait()
        await ada.post("/auth/logout")

        assert await subjects(await reading) == [session_id]

    async def test_read_that_waits_is_answered_without_entries_at_shutdown(self, identity: Identity) -> None:
        service = await identity.as_service()
        before = (await feed(service)).json()["cursor"]
        identity.run.context.stop()

        answer = await service.get(f"/auth/revocations?since={before}&wait=5")

        assert (await subjects(answer), answer.json()["cursor"]) == ([], before)

    async def test_contains_a_change_of_roles(self, identity: Identity) -> None:
        service, ada, admin = await identity.as_service(), await identity.new_person(), await identity.administrator()

        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": []})

        (entry,) = (await feed(service)).json()["revocations"]
        assert (entry["kind"], entry["subject"]) == ("user", ada.user_id)
        assert entry["issued_before"] == "2026-01-05T09:00:01Z"

    async def test_first_read_returns_all_unexpired_revocations(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await ada.post("/auth/logout")
        identity.advance(3700)
        bob = await identity.new_person("bob@example.com")
        await bob.post("/auth/logout")

        assert len(await subjects(await feed(await identity.as_service()))) == 1

    async def test_late_commit_is_not_lost(self, identity: Identity) -> None:
        """An entry that commits late gets a position after the cursor of readers that came before."""
        run, service = identity.run.context, await identity.as_service()
        if run.database.dialect == "sqlite":
            return  # SQLite has one writer, so there is no late commit
        later = run.clock.now() + timedelta(hours=1)
        async with UnitOfWork(run.database, run.clock) as slow:
            revoke(slow, "token", "slow", expires_at=later)
            await slow.flush()
            async with run.transaction() as quick:
                revoke(quick, "token", "quick", expires_at=later)
            first = await feed(service)
            await slow.commit()

        second = await feed(service, first.json()["cursor"])

        assert (await subjects(first), await subjects(second)) == (["quick"], ["slow"])

    async def test_is_paged(self, embedded: Identity) -> None:
        run, service = embedded.run.context, await embedded.as_service()
        later = run.clock.now() + timedelta(hours=1)
        async with run.transaction() as work:
            for number in range(1001):
                revoke(work, "token", f"t{number}", expires_at=later)
        await feed(service, "999999")  # assigns positions to 1,000 entries

        first = (await feed(service)).json()
        second = (await feed(service, first["cursor"])).json()

        assert (len(first["revocations"]), first["more"]) == (1000, True)
        assert (len(second["revocations"]), second["more"]) == (1, False)

    async def test_successful_polls_are_not_logged(self, embedded: Identity) -> None:
        service, stream = await embedded.as_service(), io.BytesIO()
        logs = Logs(stream=stream)
        embedded.run.context.request_log = RequestLog(logs, "identity")

        await feed(service)
        await feed(embedded.anonymous)

        logs.close()
        assert [orjson.loads(line)["status"] for line in stream.getvalue().splitlines()] == [401]

    async def test_is_available_to_services_only(self, embedded: Identity) -> None:
        admin = await embedded.administrator()

        assert (await feed(admin)).json()["code"] == "services_only"
        assert (await feed(embedded.anonymous)).status_code == 401
        assert (await feed(await embedded.as_service(), "-1")).status_code == 422
