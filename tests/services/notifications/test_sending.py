import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tests.services.notifications.support import NotificationsService, open_notifications, order_event

from portico.kit.foundation.foreground import Foreground
from portico.services.notifications.domain import Result
from portico.services.notifications.mail import MailDeferred, MailRefused, MailUncertain
from portico.services.notifications.repository import Notifications
from portico.services.notifications.sender import Sender, open_deliveries
from portico.services.notifications.service import claim_due, record_deliveries
from portico.testing.databases import Databases

DAY = 86_400


def summary(attempts: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    return [(each["number"], each["outcome"], each["answer"]) for each in attempts]


class TestAttempts:
    async def test_record_times_recipient_and_response(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(await notifications.create_user(email="ada@example.com"))

        await notifications.send_due()

        found = await notifications.read_detail()
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
    async def test_mails_of_one_order_are_sent_in_the_order_of_its_events(
        self, notifications: NotificationsService
    ) -> None:
        notifications.fail_with(MailDeferred("451 try again later"))
        user_id = await notifications.create_user()
        order_id = await notifications.confirm_order(user_id)
        await notifications.send_due()

        await notifications.run.receives(order_event(user_id, order_id=order_id, status="cancelled"))
        other = await notifications.confirm_order(user_id)
        await notifications.send_due()
        assert [each["order_id"] for each in await notifications.list_notifications(status="sent")] == [other]
        notifications.run.clock.advance(5)
        await notifications.send_due()

        templates = {
            each["mail_id"]: each["template"] for each in await notifications.list_notifications(order_id=order_id)
        }
        tried = [templates[mail.mail_id] for mail in notifications.mailer.attempted if mail.mail_id in templates]
        assert tried == ["order-confirmed", "order-confirmed", "order-cancelled"]

    async def test_a_failed_mail_does_not_block_later_ones(self, notifications: NotificationsService) -> None:
        notifications.fail_with(MailRefused("550 no"))
        user_id = await notifications.create_user()
        order_id = await notifications.confirm_order(user_id)
        await notifications.run.receives(order_event(user_id, order_id=order_id, status="cancelled"))

        await notifications.send_due()

        assert [each["status"] for each in await notifications.list_notifications()] == ["sent", "failed"]


class TestClockSetBack:
    async def test_mails_do_not_wait_for_the_clock(self, notifications: NotificationsService) -> None:
        notifications.fail_with(MailDeferred("451 try again later"))
        await notifications.confirm_order(await notifications.create_user())
        await notifications.send_due()

        notifications.run.clock.set_back(DAY)
        await notifications.send_due()

        assert (await notifications.single())["status"] == "sent"


class TestRetries:
    async def test_deferred_mails_are_retried_later(self, notifications: NotificationsService) -> None:
        notifications.fail_with(MailDeferred("451 try again later"), MailDeferred("connection refused"))
        await notifications.confirm_order(await notifications.create_user())

        await notifications.send_due()
        found = await notifications.single()
        assert (found["status"], found["failure_reason"]) == ("queued", None)
        assert "2026-01-05T09:00:04" <= found["due_at"] <= "2026-01-05T09:00:05Z"
        assert await notifications.send_due() == 0  # not yet
        notifications.run.clock.advance(5)
        await notifications.send_due()
        notifications.run.clock.advance(20)
        await notifications.send_due()

        found = await notifications.read_detail()
        assert found["status"] == "sent"
        assert summary(found["attempts"])[:2] == [
            (1, "deferred", "451 try again later"),
            (2, "deferred", "connection refused"),
        ]

    async def test_each_attempt_sends_the_same_mail(self, notifications: NotificationsService) -> None:
        notifications.fail_with(MailUncertain("the connection was lost"))
        await notifications.confirm_order(await notifications.create_user())
        await notifications.send_due()
        notifications.run.clock.advance(5)

        await notifications.send_due()

        first, second = notifications.mailer.attempted
        assert first == second
        assert summary((await notifications.read_detail())["attempts"])[0] == (
            1,
            "uncertain",
            "the connection was lost",
        )

    async def test_delays_grow_until_the_attempts_are_exhausted(self, embedded: NotificationsService) -> None:
        embedded.fail_with(*(MailDeferred("no") for _ in range(12)))
        await embedded.confirm_order(await embedded.create_user())
        for _ in range(12):
            await embedded.send_due()
            embedded.run.clock.advance(3600)

        found = await embedded.read_detail()
        assert (found["status"], found["failure_reason"], found["due_at"]) == ("failed", "out_of_attempts", None)
        assert (found["attempt_count"], len(found["attempts"])) == (12, 12)
        embedded.run.clock.advance(DAY)
        assert await embedded.send_due() == 0

    async def test_a_refused_mail_is_not_retried(self, notifications: NotificationsService) -> None:
        notifications.fail_with(MailRefused("550 no such user"))
        await notifications.confirm_order(await notifications.create_user())

        await notifications.send_due()

        found = await notifications.read_detail()
        assert (found["status"], found["failure_reason"]) == ("failed", "refused")
        assert summary(found["attempts"]) == [(1, "refused", "550 no such user")]

    async def test_an_unsendable_mail_is_not_retried(self, embedded: NotificationsService) -> None:
        await embedded.confirm_order(await embedded.create_user(email="no address"))

        await embedded.send_due()

        found = await embedded.read_detail()
        assert (found["status"], found["failure_reason"]) == ("failed", "unsendable")
        assert "invalid email address" in found["attempts"][0]["answer"]

    async def test_an_unexpected_error_is_recorded_and_retried(self, embedded: NotificationsService) -> None:
        embedded.fail_with(ZeroDivisionError("a bug"))
        await embedded.confirm_order(await embedded.create_user())

        await embedded.send_due()

        found = await embedded.read_detail()
        assert found["status"] == "queued"
        assert "ZeroDivisionError" in found["attempts"][0]["answer"]

    async def test_a_deferred_mail_does_not_delay_others(self, notifications: NotificationsService) -> None:
        notifications.fail_with(*(MailDeferred("no") for _ in range(3)))
        ada = await notifications.create_user()
        for _ in range(10):
            await notifications.confirm_order(ada)

        await notifications.send_due()

        assert len(await notifications.mails()) == 7


class TestManualRetry:
    async def test_sends_a_failed_notification(self, notifications: NotificationsService) -> None:
        notifications.fail_with(MailRefused("550 no such user"))
        await notifications.confirm_order(await notifications.create_user())
        await notifications.send_due()
        notification_id = (await notifications.single())["notification_id"]

        answer = await notifications.staff.post(f"/notifications/{notification_id}/retry")
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["failure_reason"]) == ("queued", None)
        assert len(answer.json()["attempts"]) == 1
        await notifications.send_due()

        found = await notifications.read_detail()
        assert found["status"] == "sent"
        assert [each["outcome"] for each in found["attempts"]] == ["refused", "delivered"]

    async def test_resets_the_number_of_attempts(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with open_notifications(sqlite_databases, tmp_path, NOTIFICATIONS_MAIL_ATTEMPTS="2") as notifications:
            notifications.fail_with(*(MailDeferred("no") for _ in range(3)))
            await notifications.confirm_order(await notifications.create_user())
            for _ in range(2):
                await notifications.send_due()
                notifications.run.clock.advance(60)
            await notifications.staff.post(f"/notifications/{(await notifications.single())['notification_id']}/retry")
            await notifications.send_due()
            notifications.run.clock.advance(60)

            await notifications.send_due()

            assert [each["outcome"] for each in (await notifications.read_detail())["attempts"]] == [
                *["deferred"] * 3,
                "delivered",
            ]

    async def test_rejects_a_notification_that_has_not_failed(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(await notifications.create_user())
        await notifications.send_due()
        notification_id = (await notifications.single())["notification_id"]

        answer = await notifications.staff.post(f"/notifications/{notification_id}/retry")

        assert (answer.status_code, answer.json()["code"]) == (409, "not_failed")
        assert answer.json()["state"] == "sent"


class TestMailsOfOneMoment:
    async def test_are_claimed_with_one_statement_each_where_the_database_can(
        self, notifications: NotificationsService
    ) -> None:
        ada = await notifications.create_user()
        for _ in range(3):
            await notifications.confirm_order(ada)
        database, seen = notifications.run.context.database, list[str]()

        def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(" ".join(statement.split()[:3]))

        event.listen(database.writer.sync_engine, "before_cursor_execute", record)
        await notifications.send_due()
        event.remove(database.writer.sync_engine, "before_cursor_execute", record)

        assert len(await notifications.list_notifications(status="sent")) == 3
        if database.dialect == "postgresql":
            assert seen.count("INSERT INTO attempts") == 1
            assert seen.count("UPDATE notifications SET") <= 1 + 3  # deliveries may end one after the other


class TestSeveralSenders:
    async def test_send_each_mail_once(self, notifications: NotificationsService) -> None:
        ada = await notifications.create_user()
        for _ in range(12):
            await notifications.confirm_order(ada)
        first, context = notifications.sender, notifications.run.context

        async def work(sender: Sender) -> None:
            while await sender.send_due():
                pass

        async with open_deliveries(context) as deliveries:
            second = Sender(context, notifications.mailer, first._templates, deliveries)  # type: ignore[arg-type]
            await asyncio.gather(work(first), work(second))
        await notifications.send_due()

        assert len(notifications.mailer.attempted) == 12
        assert {each["attempt_count"] for each in await notifications.list_notifications()} == {1}

    async def test_take_over_after_the_lease_of_a_crashed_sender(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(await notifications.create_user())
        notifications.fail_with(asyncio.CancelledError())  # type: ignore[arg-type]
        with pytest.raises(asyncio.CancelledError):
            await notifications.send_due()
        assert await notifications.send_due() == 0  # it may still be at it
        notifications.run.clock.advance(41)

        await notifications.send_due()

        found = await notifications.read_detail()
        assert [each["outcome"] for each in found["attempts"]] == ["uncertain", "delivered"]
        assert found["status"] == "sent"

    async def test_repeated_crashes_exhaust_the_attempts(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with open_notifications(sqlite_databases, tmp_path, NOTIFICATIONS_MAIL_ATTEMPTS="2") as notifications:
            await notifications.confirm_order(await notifications.create_user())
            for _ in range(2):
                notifications.fail_with(asyncio.CancelledError())  # type: ignore[arg-type]
                with pytest.raises(asyncio.CancelledError):
                    await notifications.send_due()
                notifications.run.clock.advance(41)

            await notifications.send_due()

            found = await notifications.read_detail()
            assert (found["status"], found["failure_reason"]) == ("failed", "out_of_attempts")
            assert [each["outcome"] for each in found["attempts"]] == ["uncertain", "uncertain"]

    async def test_a_late_delivery_report_counts(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(await notifications.create_user())
        rules, run = notifications.sender._rules, notifications.run.context
        async with run.reader() as reader:
            due = await Notifications(reader).due(reader.now, 10, max_wait=rules.max_wait)
        async with run.transaction() as work:
            _, (late,) = await claim_due(work, due, rules)
        notifications.run.clock.advance(41)
        notifications.fail_with(MailRefused("552 mailbox full"))
        await notifications.send_due()

        async with run.transaction() as work:
            await record_deliveries(work, [(late, Result("delivered", "250 OK"))])

        found = await notifications.read_detail()
        assert (found["status"], found["failure_reason"]) == ("sent", None)
        assert [each["outcome"] for each in found["attempts"]] == ["delivered", "refused"]


class Busy(Foreground):
    """A process that serves requests until the test ends its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.quiet = asyncio.Event()
        self.waited = asyncio.Event()

    async def wait_until_quiet(self, at_most: float) -> None:
        self.waits.append(at_most)
        self.waited.set()
        await self.quiet.wait()


class TestRunning:
    async def test_mails_let_requests_of_the_process_go_first(
        self, sqlite_databases: Databases, tmp_path: Path
    ) -> None:
        async with open_notifications(sqlite_databases, tmp_path) as notifications:
            notifications.run.context.foreground = busy = Busy()
            await notifications.confirm_order(await notifications.create_user())
            going = asyncio.create_task(notifications.sender.run())
            await asyncio.wait_for(busy.waited.wait(), 60)
            before = await notifications.single()

            busy.quiet.set()
            await asyncio.wait_for(notifications.mailer.wait_for_mails(1), 60)
            notifications.run.context.stop()
            await asyncio.wait_for(going, 60)

            assert before["status"] == "queued"
            assert all(0 < at_most <= 0.1 for at_most in busy.waits)

    async def test_mails_are_sent_while_requests_never_end(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with open_notifications(sqlite_databases, tmp_path) as notifications:
            notifications.run.context.foreground.begin()
            await notifications.confirm_order(await notifications.create_user())
            going = asyncio.create_task(notifications.sender.run())

            found = await asyncio.wait_for(notifications.mailer.wait_for_mails(1), 60)

            notifications.run.context.stop()
            await asyncio.wait_for(going, 60)
            assert len(found) == 1

    async def test_a_slow_mail_does_not_delay_others(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with open_notifications(sqlite_databases, tmp_path) as notifications:
            notifications.mailer.gate = gate = asyncio.Event()
            going = asyncio.create_task(notifications.sender.run())
            ada = await notifications.create_user()
            slow = await notifications.confirm_order(ada)
            await asyncio.wait_for(notifications.mailer.waiting.wait(), 60)
            for _ in range(8):
                await notifications.confirm_order(ada)

            found = await asyncio.wait_for(notifications.mailer.wait_for_mails(8), 60)
            assert not any(slow in mail.subject for mail in found)

            gate.set()
            await asyncio.wait_for(notifications.mailer.wait_for_mails(9), 60)
            notifications.run.context.stop()
            await asyncio.wait_for(going, 60)

    async def test_a_running_attempt_finishes_before_shutdown(
        self, sqlite_databases: Databases, tmp_path: Path
    ) -> None:
        async with open_notifications(sqlite_databases, tmp_path) as notifications:
            notifications.mailer.gate = gate = asyncio.Event()
            going = asyncio.create_task(notifications.sender.run())
            await notifications.confirm_order(await notifications.create_user())
            await asyncio.wait_for(notifications.mailer.waiting.wait(), 60)

            going.cancel()
            gate.set()
            await asyncio.wait([going], timeout=20)

            assert going.cancelled()
            assert (await notifications.single())["status"] == "sent"

    async def test_attempts_are_counted(self, embedded: NotificationsService) -> None:
        embedded.fail_with(MailDeferred("no"))
        ada = await embedded.create_user()
        for _ in range(3):
            await embedded.confirm_order(ada)
        await embedded.send_due()

        metrics = (await embedded.run.anonymous.get("/metrics")).content.decode()
        assert 'portico_mails_total{outcome="delivered"} 2.0' in metrics
        assert 'portico_mails_total{outcome="deferred"} 1.0' in metrics

    async def test_sends_queued_mails_without_a_request(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        async with open_notifications(sqlite_databases, tmp_path) as notifications:
            going = asyncio.create_task(notifications.sender.run())
            await notifications.confirm_order(await notifications.create_user())

            found = await asyncio.wait_for(notifications.mailer.wait_for_mails(1), 60)

            notifications.run.context.stop()
            await asyncio.wait_for(going, 60)
            assert len(found) == 1
