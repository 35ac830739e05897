import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.services.notifications.letters import Letters, opened, order

from portico.services.notifications.domain import Result
from portico.services.notifications.mail import MailDeferred, MailRefused, MailUncertain
from portico.services.notifications.repository import Notifications
from portico.services.notifications.sender import Sender
from portico.services.notifications.service import claim_due, record_attempt
from portico.testing.databases import Databases

DAY = 86_400


def told(attempts: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    return [(each["number"], each["outcome"], each["answer"]) for each in attempts]


class TestEvidence:
    async def test_tells_when_to_whom_and_what_was_answered(self, letters: Letters) -> None:
        await letters.confirmed(await letters.known_user(email="ada@example.com"))

        await letters.send()

        found = await letters.detail()
        assert found["attempts"] == [
            {
                "number": 1,
                "recipient": "ada@example.com",
                "started_at": "2026-01-05T09:00:00Z",
                "ended_at": "2026-01-05T09:00:00Z",
                "outcome": "delivered",
                "answer": f"stored as {found['mail_id']}.eml",
            }
        ]
        assert (found["sent_at"], found["due_at"], found["attempt_count"]) == ("2026-01-05T09:00:00Z", None, 1)


class TestOrder:
    async def test_mails_about_one_order_go_out_in_the_order_of_its_events(self, letters: Letters) -> None:
        letters.fail_with(MailDeferred("451 come again"))
        user_id = await letters.known_user()
        order_id = await letters.confirmed(user_id)
        await letters.send()

        await letters.run.receives(order(user_id, order_id=order_id, status="cancelled"))
        other = await letters.confirmed(user_id)
        await letters.send()
        assert [each["order_id"] for each in await letters.listed(status="sent")] == [other]
        letters.run.clock.advance(5)
        await letters.send()

        templates = {each["mail_id"]: each["template"] for each in await letters.listed(order_id=order_id)}
        tried = [templates[mail.mail_id] for mail in letters.faults.tried if mail.mail_id in templates]
        assert tried == ["order-confirmed", "order-confirmed", "order-cancelled"]

    async def test_what_failed_for_good_holds_up_nothing(self, letters: Letters) -> None:
        letters.fail_with(MailRefused("550 no"))
        user_id = await letters.known_user()
        order_id = await letters.confirmed(user_id)
        await letters.run.receives(order(user_id, order_id=order_id, status="cancelled"))

        await letters.send()

        assert [each["status"] for each in await letters.listed()] == ["sent", "failed"]


class TestRetries:
    async def test_what_was_not_taken_is_tried_again_later(self, letters: Letters) -> None:
        letters.fail_with(MailDeferred("451 come again"), MailDeferred("nobody listens"))
        await letters.confirmed(await letters.known_user())

        await letters.send()
        found = await letters.only()
        assert (found["status"], found["failure_reason"]) == ("queued", None)
        assert "2026-01-05T09:00:04" <= found["due_at"] <= "2026-01-05T09:00:05Z"
        assert await letters.send() == 0  # not yet
        letters.run.clock.advance(5)
        await letters.send()
        letters.run.clock.advance(20)
        await letters.send()

        found = await letters.detail()
        assert found["status"] == "sent"
        assert told(found["attempts"])[:2] == [(1, "deferred", "451 come again"), (2, "deferred", "nobody listens")]

    async def test_the_same_mail_is_sent_each_time(self, letters: Letters) -> None:
        letters.fail_with(MailUncertain("the connection was lost"))
        await letters.confirmed(await letters.known_user())
        await letters.send()
        letters.run.clock.advance(5)

        await letters.send()

        first, second = letters.faults.tried
        assert first == second
        assert told((await letters.detail())["attempts"])[0] == (1, "uncertain", "the connection was lost")

    async def test_waits_grow_to_their_limit(self, embedded: Letters) -> None:
        embedded.fail_with(*(MailDeferred("no") for _ in range(12)))
        await embedded.confirmed(await embedded.known_user())
        for _ in range(12):
            await embedded.send()
            embedded.run.clock.advance(3600)

        found = await embedded.detail()
        assert (found["status"], found["failure_reason"], found["due_at"]) == ("failed", "out_of_attempts", None)
        assert (found["attempt_count"], len(found["attempts"])) == (12, 12)
        embedded.run.clock.advance(DAY)
        assert await embedded.send() == 0

    async def test_a_definite_no_is_the_end(self, letters: Letters) -> None:
        letters.fail_with(MailRefused("550 no such user"))
        await letters.confirmed(await letters.known_user())

        await letters.send()

        found = await letters.detail()
        assert (found["status"], found["failure_reason"]) == ("failed", "refused")
        assert told(found["attempts"]) == [(1, "refused", "550 no such user")]

    async def test_what_can_be_no_mail_is_not_tried_again(self, embedded: Letters) -> None:
        await embedded.confirmed(await embedded.known_user(email="no address"))

        await embedded.send()

        found = await embedded.detail()
        assert (found["status"], found["failure_reason"]) == ("failed", "unsendable")
        assert "invalid email address" in found["attempts"][0]["answer"]

    async def test_an_error_of_our_own_is_tried_again_and_logged(self, embedded: Letters) -> None:
        embedded.fail_with(ZeroDivisionError("a bug"))
        await embedded.confirmed(await embedded.known_user())

        await embedded.send()

        found = await embedded.detail()
        assert found["status"] == "queued"
        assert "ZeroDivisionError" in found["attempts"][0]["answer"]

    async def test_one_that_fails_holds_up_no_other(self, letters: Letters) -> None:
        letters.fail_with(*(MailDeferred("no") for _ in range(3)))
        ada = await letters.known_user()
        for _ in range(10):
            await letters.confirmed(ada)

        await letters.send()

        assert len(await letters.mails()) == 7


class TestTheAdministratorsRetry:
    async def test_sends_what_failed(self, letters: Letters) -> None:
        letters.fail_with(MailRefused("550 no such user"))
        await letters.confirmed(await letters.known_user())
        await letters.send()
        notification_id = (await letters.only())["notification_id"]

        answer = await letters.staff.post(f"/notifications/{notification_id}/retry")
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["failure_reason"]) == ("queued", None)
        assert len(answer.json()["attempts"]) == 1
        await letters.send()

        found = await letters.detail()
        assert found["status"] == "sent"
        assert [each["outcome"] for each in found["attempts"]] == ["refused", "delivered"]

    async def test_gives_all_attempts_anew(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with opened(sqlite_databases, tmp_path, NOTIFICATIONS_MAIL_ATTEMPTS="2") as letters:
            letters.fail_with(*(MailDeferred("no") for _ in range(3)))
            await letters.confirmed(await letters.known_user())
            for _ in range(2):
                await letters.send()
                letters.run.clock.advance(60)
            await letters.staff.post(f"/notifications/{(await letters.only())['notification_id']}/retry")
            await letters.send()
            letters.run.clock.advance(60)

            await letters.send()

            assert [each["outcome"] for each in (await letters.detail())["attempts"]] == [
                *["deferred"] * 3,
                "delivered",
            ]

    async def test_is_for_what_failed_alone(self, letters: Letters) -> None:
        await letters.confirmed(await letters.known_user())
        await letters.send()
        notification_id = (await letters.only())["notification_id"]

        answer = await letters.staff.post(f"/notifications/{notification_id}/retry")

        assert (answer.status_code, answer.json()["code"]) == (409, "not_failed")
        assert answer.json()["state"] == "sent"


class TestSeveralSenders:
    async def test_hand_each_mail_over_once(self, letters: Letters) -> None:
        ada = await letters.known_user()
        for _ in range(12):
            await letters.confirmed(ada)
        others = [letters.sender, Sender(letters.run.context, letters.faults, letters.sender._templates)]  # type: ignore[arg-type]

        async def work(sender: Sender) -> None:
            while await sender.send_due():
                pass

        await asyncio.gather(*map(work, others))
        await letters.send()

        assert len(letters.faults.tried) == 12
        assert {each["attempt_count"] for each in await letters.listed()} == {1}

    async def test_one_that_dies_is_stood_in_for(self, letters: Letters) -> None:
        await letters.confirmed(await letters.known_user())
        letters.fail_with(asyncio.CancelledError())  # type: ignore[arg-type]
        with pytest.raises(asyncio.CancelledError):
            await letters.send()
        assert await letters.send() == 0  # it may still be at it
        letters.run.clock.advance(41)

        await letters.send()

        found = await letters.detail()
        assert [each["outcome"] for each in found["attempts"]] == ["uncertain", "delivered"]
        assert found["status"] == "sent"

    async def test_one_that_dies_each_time_comes_to_an_end(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with opened(sqlite_databases, tmp_path, NOTIFICATIONS_MAIL_ATTEMPTS="2") as letters:
            await letters.confirmed(await letters.known_user())
            for _ in range(2):
                letters.fail_with(asyncio.CancelledError())  # type: ignore[arg-type]
                with pytest.raises(asyncio.CancelledError):
                    await letters.send()
                letters.run.clock.advance(41)

            await letters.send()

            found = await letters.detail()
            assert (found["status"], found["failure_reason"]) == ("failed", "out_of_attempts")
            assert [each["outcome"] for each in found["attempts"]] == ["uncertain", "uncertain"]

    async def test_news_of_one_that_was_late_still_counts(self, letters: Letters) -> None:
        await letters.confirmed(await letters.known_user())
        rules, run = letters.sender._rules, letters.run.context
        async with run.reader() as reader:
            due = await Notifications(reader).due(reader.now, 10)
        async with run.transaction() as work:
            _, (late,) = await claim_due(work, due, rules)
        letters.run.clock.advance(41)
        letters.fail_with(MailRefused("552 mailbox full"))
        await letters.send()

        async with run.transaction() as work:
            await record_attempt(work, late, Result("delivered", "250 OK"), rules, jitter=1)

        found = await letters.detail()
        assert (found["status"], found["failure_reason"]) == ("sent", None)
        assert [each["outcome"] for each in found["attempts"]] == ["delivered", "refused"]


class TestRunning:
    async def test_a_mail_that_takes_long_holds_up_no_other(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with opened(sqlite_databases, tmp_path) as letters:
            letters.faults.held = held = asyncio.Event()
            going = asyncio.create_task(letters.sender.run())
            ada = await letters.known_user()
            slow = await letters.confirmed(ada)
            await asyncio.wait_for(letters.faults.holding.wait(), 20)
            for _ in range(8):
                await letters.confirmed(ada)

            found = await asyncio.wait_for(letters.faults.arrived(8), 20)
            assert not any(slow in mail.subject for mail in found)

            held.set()
            await asyncio.wait_for(letters.faults.arrived(9), 20)
            letters.run.context.stop()
            await asyncio.wait_for(going, 20)

    async def test_what_is_being_handed_over_ends_before_the_process(
        self, sqlite_databases: Databases, tmp_path: Path
    ) -> None:
        async with opened(sqlite_databases, tmp_path) as letters:
            letters.faults.held = held = asyncio.Event()
            going = asyncio.create_task(letters.sender.run())
            await letters.confirmed(await letters.known_user())
            await asyncio.wait_for(letters.faults.holding.wait(), 20)

            going.cancel()
            held.set()
            await asyncio.wait([going], timeout=20)

            assert going.cancelled()
            assert (await letters.only())["status"] == "sent"

    async def test_attempts_are_counted(self, embedded: Letters) -> None:
        embedded.fail_with(MailDeferred("no"))
        ada = await embedded.known_user()
        for _ in range(3):
            await embedded.confirmed(ada)
        await embedded.send()

        metrics = (await embedded.run.anonymous.get("/metrics")).content.decode()
        assert 'portico_mails_total{outcome="delivered"} 2.0' in metrics
        assert 'portico_mails_total{outcome="deferred"} 1.0' in metrics

    async def test_what_is_queued_leaves_by_itself(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with opened(sqlite_databases, tmp_path) as letters:
            going = asyncio.create_task(letters.sender.run())
            await letters.confirmed(await letters.known_user())

            found = await asyncio.wait_for(letters.faults.arrived(1), 20)

            letters.run.context.stop()
            await asyncio.wait_for(going, 20)
            assert len(found) == 1
