from portico.contracts.identity import (
    EmailVerificationRequested,
    PasswordResetRequested,
    UserCreated,
    UserDeleted,
    UserUpdated,
)
from portico.contracts.orders import OrderCancelled, OrderUpdated
from portico.kit import ServiceContext, UnitOfWork, consumes
from portico.services.notifications import service
from portico.services.notifications.domain import ACCOUNT_MAILS, template_for
from portico.services.notifications.sender import Sender
from portico.services.notifications.templates import Templates


@consumes(UserCreated, UserUpdated, name="save-recipient")
async def save_recipient(event: UserCreated | UserUpdated, work: UnitOfWork, context: ServiceContext) -> None:
    """Store the user's address, and send the mails that waited for it."""
    await service.save_recipient(work, event.user_id, email=event.email, name=event.name)
    if await service.release_waiting(work, event.user_id):
        work.after_commit(context.resource(Sender).wake)


@consumes(UserDeleted, name="forget-recipient")
async def forget_recipient(event: UserDeleted, work: UnitOfWork) -> None:
    """Delete the user's address, also from the attempts that were made."""
    await service.forget_recipient(work, event.user_id)


@consumes(PasswordResetRequested, EmailVerificationRequested, name="queue-account-mail")
async def queue_account_mail(
    event: PasswordResetRequested | EmailVerificationRequested, work: UnitOfWork, context: ServiceContext
) -> None:
    """Queue the mail with the event's token, which stays sealed until the mail is sent."""
    template = context.resource(Templates).newest(ACCOUNT_MAILS[type(event)])
    await service.queue_mail(work, template, event.user_id, order_id=None, data=template.data_from(event))
    work.after_commit(context.resource(Sender).wake)


@consumes(OrderUpdated, OrderCancelled, name="queue-order-mail")
async def queue_order_mail(event: OrderUpdated | OrderCancelled, work: UnitOfWork, context: ServiceContext) -> None:
    """Queue the mail that RULES name. Each order gets each mail once, however often the event is delivered."""
    name = template_for(event)
    if name is None:
        return
    template = context.resource(Templates).newest(name)
    data = template.data_from(event)
    await service.queue_mail(work, template, event.user_id, order_id=event.order_id, data=data)
    work.after_commit(context.resource(Sender).wake)
