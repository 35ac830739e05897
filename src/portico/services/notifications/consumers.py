from portico.contracts.bookings import (
    BookingCancelled,
    BookingConfirmed,
    BookingRescheduled,
    TicketCancelled,
    TicketRescheduled,
    TransferOffered,
)
from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.contracts.identity import (
    EmailVerificationRequested,
    PasswordResetRequested,
    UserCreated,
    UserDeleted,
    UserUpdated,
)
from portico.contracts.orders import OrderCancelled, OrderUpdated
from portico.contracts.payments import BookingPaymentRefunded
from portico.contracts.seating import WaitlistOffered
from portico.kit import ServiceContext, UnitOfWork, consumes
from portico.services.notifications import repository, service
from portico.services.notifications.domain import ACCOUNT_MAILS, BookingMailEvent, HolderMailEvent, template_for
from portico.services.notifications.sender import Sender
from portico.services.notifications.service import Subject
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
    await service.queue_mail(work, template, event.user_id, Subject(), data=template.data_from(event))
    work.after_commit(context.resource(Sender).wake)


@consumes(OrderUpdated, OrderCancelled, name="queue-order-mail")
async def queue_order_mail(event: OrderUpdated | OrderCancelled, work: UnitOfWork, context: ServiceContext) -> None:
    """Queue the mail that RULES name. Each order gets each mail once, however often the event is delivered."""
    name = template_for(event)
    if name is None:
        return
    template = context.resource(Templates).newest(name)
    data = template.data_from(event)
    await service.queue_mail(work, template, event.user_id, Subject(order_id=event.order_id), data=data)
    work.after_commit(context.resource(Sender).wake)


@consumes(ShowCreated, ShowUpdated, ShowStatusChanged, name="save-show")
async def save_show(event: ShowCreated | ShowUpdated | ShowStatusChanged, work: UnitOfWork) -> None:
    """Store the name, date and venue of the show, for mails."""
    await repository.save_show(work, event)


@consumes(ShowDeleted, name="forget-show")
async def forget_show(event: ShowDeleted, work: UnitOfWork) -> None:
    """Delete what is known of the show. It never had a booking."""
    await repository.delete_show(work, event.event_id)


@consumes(BookingConfirmed, BookingCancelled, BookingRescheduled, BookingPaymentRefunded, name="queue-booking-mail")
async def queue_booking_mail(event: BookingMailEvent, work: UnitOfWork, context: ServiceContext) -> None:
    """Queue the mail with the tickets, about a cancellation, a new date or a refund, to the buyer."""
    await service.queue_ticketing_mail(work, context.resource(Templates), event, event.user_id, event.booking_id)
    work.after_commit(context.resource(Sender).wake)


@consumes(TicketRescheduled, TicketCancelled, name="queue-holder-mail")
async def queue_holder_mail(event: HolderMailEvent, work: UnitOfWork, context: ServiceContext) -> None:
    """Queue the mail about a new date or a cancelled show to the user that a ticket was transferred to."""
    if event.holder_id is not None:
        await service.queue_ticketing_mail(work, context.resource(Templates), event, event.holder_id)
        work.after_commit(context.resource(Sender).wake)


@consumes(WaitlistOffered, name="queue-offer-mail")
async def queue_offer_mail(event: WaitlistOffered, work: UnitOfWork, context: ServiceContext) -> None:
    """Queue the mail about an offer from the waiting list."""
    await service.queue_ticketing_mail(work, context.resource(Templates), event, event.user_id)
    work.after_commit(context.resource(Sender).wake)


@consumes(TransferOffered, name="queue-transfer-mail")
async def queue_transfer_mail(event: TransferOffered, work: UnitOfWork, context: ServiceContext) -> None:
    """Queue the mail about a ticket that is offered to an address, which may belong to no user."""
    await service.queue_ticketing_mail(work, context.resource(Templates), event, event.email)
    work.after_commit(context.resource(Sender).wake)
