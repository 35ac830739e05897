from typing import Annotated

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit.auth import Principal, permitted
from portico.kit.auth.access import KnownCaller
from portico.kit.data import InvalidCursor
from portico.kit.http import Conditions, Page, Reads, Router, Work
from portico.kit.runtime.context import Context
from portico.services.notifications.messages import commands
from portico.services.notifications.messages.domain import Status
from portico.services.notifications.messages.errors import NotFailed, NotificationNotFound
from portico.services.notifications.messages.queries import whose
from portico.services.notifications.messages.repository import Notifications
from portico.services.notifications.messages.resources import Sender
from portico.services.notifications.messages.schemas import NotificationDetail, NotificationRead

router = Router(prefix="/notifications", tags=["notifications"])

MayWrite = Annotated[Principal, permitted("notifications:write")]


@router.get("", errors=[InvalidCursor])
async def list_notifications(
    caller: KnownCaller, page: Page, reads: Reads, status: Status | None = None, order_id: OrderId | None = None
) -> list[NotificationRead]:
    """The caller's notifications, or everybody's with `notifications:read`; newest first."""
    found = await Notifications(reads).page(page.window, of_user=whose(caller), status=status, order_id=order_id)
    return page.of(NotificationRead, found)


@router.get("/{notification_id}", errors=[NotificationNotFound])
async def read_notification(
    notification_id: NotificationId, caller: KnownCaller, reads: Reads, conditions: Conditions
) -> NotificationDetail:
    """One notification, with the evidence of each attempt."""
    found = await Notifications(reads).visible(notification_id, of_user=whose(caller))
    conditions.tag(found)
    return NotificationDetail.with_attempts(found, await Notifications(reads).attempts(notification_id))


@router.post("/{notification_id}/retry", errors=[NotificationNotFound, NotFailed])
async def retry_notification(
    notification_id: NotificationId, caller: MayWrite, work: Work, context: Context, conditions: Conditions
) -> NotificationDetail:
    """Have a notification that failed tried again, as often as a new one."""
    notification = await commands.retry(work, notification_id)
    work.after_commit(context.resource(Sender).wake)
    conditions.tag(notification)
    return NotificationDetail.with_attempts(notification, await Notifications(work).attempts(notification_id))
