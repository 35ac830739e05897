from portico.contracts.identity import UserCreated, UserDeleted, UserUpdated
from portico.contracts.orders import OrderCancelled, OrderUpdated
from portico.kit.data import UnitOfWork
from portico.kit.messaging.consumer import consumes
from portico.kit.runtime.context import ServiceRuntime
from portico.services.notifications.domain import template_for
from portico.services.notifications.messages import commands as messages
from portico.services.notifications.messages.resources import Sender
from portico.services.notifications.recipients import commands as recipients
from portico.services.notifications.templates.resources import Templates


@consumes(UserCreated, UserUpdated)
async def keep_recipient(event: UserCreated | UserUpdated, work: UnitOfWork, context: ServiceRuntime) -> None:
    """Keep how the user is reached; what waited for it goes out."""
    await recipients.keep(work, event.user_id, email=event.email, name=event.name)
    if await messages.release(work, event.user_id):
        work.after_commit(context.resource(Sender).wake)


@consumes(UserDeleted)
async def forget_recipient_when_user_deleted(event: UserDeleted, work: UnitOfWork) -> None:
    await recipients.forget(work, event.user_id)
    await messages.forget_recipient(work, event.user_id)


@consumes(OrderUpdated, OrderCancelled)
async def queue_mail_about_order(
    event: OrderUpdated | OrderCancelled, work: UnitOfWork, context: ServiceRuntime
) -> None:
    """Queue the mail that a rule says; each order gets each mail once, however often the event comes."""
    name = template_for(event)
    if name is None:
        return
    template = context.resource(Templates).newest(name)
    about = template.data_from(event)
    await messages.queue_mail(work, template, event.user_id, order_id=event.order_id, data=about)
    work.after_commit(context.resource(Sender).wake)
