from typing import Annotated

from fastapi import Depends

from portico.contracts.bookings import BookingId
from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId
from portico.kit import (
    Context,
    InvalidCursor,
    KnownCaller,
    Page,
    Principal,
    Reads,
    Router,
    Slice,
    Work,
    inject,
    permitted,
)
from portico.services.notifications import service
from portico.services.notifications.domain import Status
from portico.services.notifications.errors import (
    MailNotFound,
    NoEmbeddedMailbox,
    NotificationNotFailed,
    NotificationNotFound,
    TemplateDataInvalid,
    TemplateNotFound,
    TemplateVersionNotFound,
)
from portico.services.notifications.mail import Mailer, MailId
from portico.services.notifications.mail.mailbox import Mailbox, StoredMail
from portico.services.notifications.models import Notification
from portico.services.notifications.repository import READ, Notifications
from portico.services.notifications.schemas import (
    MailDetail,
    MailRead,
    NotificationDetail,
    NotificationRead,
    Preview,
    PreviewRead,
    TemplateRead,
)
from portico.services.notifications.sender import Sender
from portico.services.notifications.templates import Template, Templates

notifications_router = Router(
    prefix="/notifications", tags=["notifications"], description="Mails to users, and the attempts to send them"
)
templates_router = Router(prefix="/templates", tags=["templates"], description="Texts of the mails")
mailbox_router = Router(
    prefix="/mailbox", tags=["mailbox"], description="Mails that were sent into the embedded mailbox"
)

NotificationsReader = Annotated[Principal, permitted(READ)]
NotificationsWriter = Annotated[Principal, permitted("notifications:write")]
MailTemplates = Annotated[Templates, inject(Templates)]


@notifications_router.get("", response_model=list[NotificationRead], errors=[InvalidCursor])
async def list_notifications(
    caller: KnownCaller,
    page: Page,
    reads: Reads,
    status: Status | None = None,
    order_id: OrderId | None = None,
    booking_id: BookingId | None = None,
) -> Slice[Notification]:
    """List the caller's notifications, or those of all users with `notifications:read`; newest first."""
    filters = (
        None if status is None else Notification.status == status,
        None if order_id is None else Notification.order_id == order_id,
        None if booking_id is None else Notification.booking_id == booking_id,
    )
    return await Notifications(reads).page_visible(page, caller, *filters)


@notifications_router.get("/{notification_id}", response_model=NotificationDetail, errors=[NotificationNotFound])
async def read_notification(notification_id: NotificationId, caller: KnownCaller, reads: Reads) -> Notification:
    """Return one notification with its attempts."""
    notifications = Notifications(reads)
    return await notifications.load_attempts(await notifications.get_visible(notification_id, caller))


@notifications_router.post(
    "/{notification_id}/retry",
    response_model=NotificationDetail,
    errors=[NotificationNotFound, NotificationNotFailed],
)
async def retry_notification(
    notification_id: NotificationId, caller: NotificationsWriter, work: Work, context: Context
) -> Notification:
    """Queue a failed notification again, with as many attempts as a new one."""
    notification = await service.retry_notification(work, notification_id)
    work.after_commit(context.resource(Sender).wake)
    return await Notifications(work).load_attempts(notification)


@templates_router.get("", response_model=list[TemplateRead])
async def list_templates(caller: NotificationsReader, templates: MailTemplates) -> list[Template]:
    """List the templates by name."""
    return templates.newest_of_each


@templates_router.post(
    "/{name}/preview",
    errors=[TemplateNotFound, TemplateVersionNotFound, TemplateDataInvalid],
    stores_response=False,
)
async def preview_template(
    name: str, preview: Preview, caller: NotificationsReader, templates: MailTemplates
) -> PreviewRead:
    """Render a template without sending anything."""
    template = templates.newest(name) if preview.version is None else templates.find(name, preview.version)
    data = dict(template.sample) if preview.data is None else preview.data
    rendered = await templates.render(template, data, name=preview.recipient_name or "Ada Lovelace")
    return PreviewRead(
        name=template.name, version=template.version, subject=rendered.subject, text=rendered.text, html=rendered.html
    )


async def _embedded_mailbox(context: Context) -> Mailbox:
    """Return the embedded mailbox. Raises NoEmbeddedMailbox."""
    mailer = context.resource(Mailer)  # type: ignore[type-abstract]  # the declared type is the interface
    if not isinstance(mailer, Mailbox):
        raise NoEmbeddedMailbox
    return mailer


EmbeddedMailbox = Annotated[Mailbox, Depends(_embedded_mailbox)]


@mailbox_router.get("", response_model=list[MailRead], errors=[InvalidCursor, NoEmbeddedMailbox])
async def list_mails(caller: NotificationsReader, mailbox: EmbeddedMailbox, page: Page) -> Slice[StoredMail]:
    """List the mails of the embedded mailbox, newest first. They were not sent: no mail server is configured."""
    return await mailbox.page(page)


@mailbox_router.get("/{mail_id}", response_model=MailDetail, errors=[MailNotFound, NoEmbeddedMailbox])
async def read_mail(mail_id: MailId, caller: NotificationsReader, mailbox: EmbeddedMailbox) -> StoredMail:
    """Return one mail as its recipient would read it."""
    found = await mailbox.find(mail_id)
    if found is None:
        raise MailNotFound(mail_id=mail_id)
    return found
