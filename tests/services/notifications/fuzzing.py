"""Mails and notifications for the generated requests to notifications."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.notifications.support import open_notifications

from portico.services.notifications.mail import MailRefused
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, folder: Path) -> AsyncIterator[Fuzzing]:
    """Run notifications with two sent mails and one refused mail of one user."""
    async with open_notifications(databases, folder) as notifications:
        notifications.fail_with(MailRefused("550 no such user"))
        ada = await notifications.create_user()
        for _ in range(3):
            await notifications.confirm_order(ada)
        await notifications.send_due()
        known = {
            "notification_id": [each["notification_id"] for each in await notifications.list_notifications()],
            "mail_id": [each.mail_id for each in await notifications.mails()],
            "name": ["order-confirmed"],
        }
        token = notifications.run.issuer.token
        bearers = [
            token(permissions=["*"], lasting=10_000_000),
            token(ada, lasting=10_000_000),
            token("service:orders", lasting=10_000_000),
            None,
        ]
        yield Fuzzing(notifications.run, bearers, known=known)
