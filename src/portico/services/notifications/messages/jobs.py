"""Notifications are kept for NOTIFICATION_RETENTION, and so are the mails in the mailbox."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select

from portico.kit.jobs.runner import job
from portico.kit.messaging.retention import MARGIN
from portico.kit.runtime.context import ServiceRuntime
from portico.services.notifications.mail import Mailer
from portico.services.notifications.mail.mailbox import Mailbox
from portico.services.notifications.messages.models import Attempt, Notification
from portico.services.notifications.settings import NotificationsSettings

_BATCH: Final = 500


@job(name="delete-old-notifications", every=timedelta(hours=1))
async def forget_old_notifications(context: ServiceRuntime) -> None:
    """Delete what was sent or has failed, and was queued longer ago than is kept.

    Never before its event is gone from the log: replayed there once more, it would be sent a second time.
    """
    settings = context.settings
    kept = timedelta(seconds=context.settings_of(NotificationsSettings).notification_retention)
    oldest = context.clock.now() - max(kept, timedelta(seconds=settings.event_retention) + MARGIN)
    while await _forget_some(context, oldest) == _BATCH:
        pass
    mailer = context.resource(Mailer)  # type: ignore[type-abstract]  # what is declared is the interface
    if isinstance(mailer, Mailbox):
        await mailer.forget_before(oldest)


async def _forget_some(context: ServiceRuntime, oldest: datetime) -> int:
    """Delete a batch, locked before: one that failed may be retried at this moment."""
    old = select(Notification.notification_id).where(Notification.created_at < oldest, Notification.due_at.is_(None))
    batch = old.order_by(Notification.created_at).limit(_BATCH).with_for_update(skip_locked=True)
    async with context.transaction() as work:
        ids = (await work.execute(batch)).scalars().all()
        if ids:
            await work.execute(delete(Attempt).where(Attempt.notification_id.in_(ids)))
            await work.execute(delete(Notification).where(Notification.notification_id.in_(ids)))
    return len(ids)
