from datetime import timedelta
from typing import Final

from portico.kit import ServiceContext, job
from portico.kit.messaging import MARGIN
from portico.services.notifications.mail import Mailer
from portico.services.notifications.mail.mailbox import Mailbox
from portico.services.notifications.repository import delete_ended
from portico.services.notifications.settings import NotificationsSettings

_BATCH: Final = 500


@job(name="delete-old-notifications", every=timedelta(hours=1))
async def delete_old_notifications(context: ServiceContext) -> None:
    """Delete ended notifications that are older than NOTIFICATIONS_RETENTION, and mailbox mails of the same age.

    They stay at least as long as the event log: replaying an event whose notification is deleted would send its mail
    again.
    """
    retention = timedelta(seconds=context.settings_of(NotificationsSettings).retention)
    event_retention = timedelta(seconds=context.settings.event_retention) + MARGIN
    oldest = context.clock.now() - max(retention, event_retention)
    deleted = _BATCH
    while deleted == _BATCH:
        async with context.transaction() as work:
            deleted = await delete_ended(work, created_before=oldest, limit=_BATCH)
    mailer = context.resource(Mailer)  # type: ignore[type-abstract]  # the declared type is the interface
    if isinstance(mailer, Mailbox):
        await mailer.delete_before(oldest)
