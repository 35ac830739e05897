"""Mails with a token: to reset a password, and to verify an email address."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.services.notifications.support import NotificationsService, open_notifications

from portico.contracts.identity import EmailVerificationRequested, MailedTokenSeal, PasswordResetRequested
from portico.kit.auth.principal import UserId
from portico.kit.data.migrations import MigrationSet, downgrade, upgrade
from portico.services.notifications import service
from portico.services.notifications.models import Notification
from portico.testing.databases import Databases

TOKEN = "the-token-that-only-ada-may-read"


async def request_mail(
    notifications: NotificationsService, user_id: UserId, kind: Any = PasswordResetRequested, sealed: str | None = None
) -> None:
    """Deliver the event that the user asked for a mail, with TOKEN in it."""
    context = notifications.run.context
    seal = MailedTokenSeal(context.secrets.service_secret.get_secret_value())
    expires_at = context.clock.now() + timedelta(hours=1)
    sealed_token = sealed or seal.seal(TOKEN, user_id)
    await notifications.run.receives(kind(user_id=user_id, sealed_token=sealed_token, expires_at=expires_at))


def files(notifications: NotificationsService) -> str:
    """Return the mails as a mail program would read them."""
    return "".join(path.read_text() for path in notifications.mailer.mailbox.folder.glob("*.eml"))


class TestAccountMail:
    @pytest.mark.parametrize(
        ("kind", "template", "subject"),
        [
            (PasswordResetRequested, "password-reset", "Reset your password"),
            (EmailVerificationRequested, "email-verification", "Verify your email address"),
        ],
    )
    async def test_brings_the_token_to_the_user(
        self, notifications: NotificationsService, kind: Any, template: str, subject: str
    ) -> None:
        ada = await notifications.create_user(email="ada@example.com")

        await request_mail(notifications, ada, kind)
        await notifications.send_due()

        found = await notifications.single()
        assert (found["template"], found["order_id"], found["status"]) == (template, None, "sent")
        (mail,) = await notifications.mails()
        assert (mail.recipient, mail.subject) == ("Ada Lovelace <ada@example.com>", subject)
        assert files(notifications).count(TOKEN) == 2  # as text and as HTML

    async def test_each_request_gets_a_mail(self, embedded: NotificationsService) -> None:
        ada = await embedded.create_user()
        for _ in range(2):
            await request_mail(embedded, ada)
        await embedded.send_due()

        assert len(await embedded.mails()) == 2

    async def test_links_to_the_page_of_the_settings(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        page = "https://shop.example/reset?token={token}"
        async with open_notifications(
            sqlite_databases, tmp_path, NOTIFICATIONS_PASSWORD_RESET_URL=page
        ) as notifications:
            await request_mail(notifications, await notifications.create_user())
            await notifications.send_due()

            mail = files(notifications).replace("=\n", "").replace("=3D", "=")
            assert mail.count(f"https://shop.example/reset?token={TOKEN}") == 3

    async def test_is_not_sent_after_the_token_expired(self, embedded: NotificationsService) -> None:
        await request_mail(embedded, await embedded.create_user())

        embedded.run.clock.advance(3600)
        await embedded.send_due()

        detail = await embedded.read_detail()
        assert (detail["status"], detail["failure_reason"]) == ("failed", "unsendable")
        assert detail["attempts"][0]["answer"] == "the token has expired"
        assert await embedded.mails() == []

    async def test_token_of_another_user_is_not_sent(self, embedded: NotificationsService) -> None:
        ada, eve = await embedded.create_user(), await embedded.create_user()
        seal = MailedTokenSeal(embedded.run.context.secrets.service_secret.get_secret_value())

        await request_mail(embedded, eve, sealed=seal.seal(TOKEN, ada))
        await embedded.send_due()

        assert (await embedded.single())["failure_reason"] == "unsendable"


class TestSecrecy:
    async def test_staff_cannot_read_the_token(self, notifications: NotificationsService) -> None:
        await request_mail(notifications, await notifications.create_user())
        await notifications.send_due()
        (mail,) = (await notifications.staff.get("/mailbox")).json()
        notification_id = (await notifications.single())["notification_id"]

        for path in (f"/mailbox/{mail['mail_id']}", "/mailbox", "/notifications", f"/notifications/{notification_id}"):
            answer = await notifications.staff.get(path)
            assert answer.status_code == 200
            assert TOKEN not in answer.content.decode()

    async def test_database_does_not_have_the_token(self, notifications: NotificationsService) -> None:
        await request_mail(notifications, await notifications.create_user())
        async with notifications.run.context.reader() as reader:
            (stored,) = await reader.all(select(Notification))

        assert TOKEN not in str(vars(stored))


async def test_migration_keeps_the_mails_that_were_sent_before_it(notifications: NotificationsService) -> None:
    order_id = await notifications.confirm_order(await notifications.create_user())
    await notifications.send_due()
    assert service.migrations is not None
    migrations = MigrationSet("notifications", service.migrations, service.tables)
    await downgrade(notifications.run.context.database, migrations, "0001")

    await upgrade(notifications.run.context.database, [migrations])

    detail = await notifications.read_detail()
    assert (detail["order_id"], detail["status"]) == (order_id, "sent")
    assert [attempt["outcome"] for attempt in detail["attempts"]] == ["delivered"]
