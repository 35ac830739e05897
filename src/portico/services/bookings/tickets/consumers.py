from portico.contracts.identity import UserCreated, UserDeleted, UserUpdated
from portico.kit import UnitOfWork, consumes
from portico.services.bookings.tickets.domain import fold_email
from portico.services.bookings.tickets.repository import delete_holder, save_holder


@consumes(UserCreated, UserUpdated, name="save-holder")
async def save_user(event: UserCreated | UserUpdated, work: UnitOfWork) -> None:
    """Store the user's name and address, for tickets and transfers."""
    await save_holder(work, event.user_id, name=event.name, email_key=fold_email(event.email))


@consumes(UserDeleted, name="forget-holder")
async def forget_user(event: UserDeleted, work: UnitOfWork) -> None:
    """Delete the user's name and address."""
    await delete_holder(work, event.user_id)
