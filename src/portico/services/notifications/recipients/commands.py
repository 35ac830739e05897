from portico.kit.auth.principal import UserId
from portico.kit.data import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.services.notifications.mail.base import in_one_line
from portico.services.notifications.recipients.models import LONGEST_EMAIL, LONGEST_NAME, Recipient


async def keep(work: UnitOfWork, user_id: UserId, *, email: str, name: str) -> None:
    """Keep how the user is reached from now on, unless it was deleted."""
    recipient = await _locked(work, user_id)
    if recipient.deleted_at is not None:
        return
    recipient.email = email[:LONGEST_EMAIL] or None
    recipient.name = in_one_line(name)[:LONGEST_NAME]
    recipient.updated_at = work.now


async def forget(work: UnitOfWork, user_id: UserId) -> None:
    """Forget how the user is reached, for good."""
    recipient = await _locked(work, user_id)
    recipient.email = recipient.name = None
    recipient.deleted_at = recipient.updated_at = work.now


async def _locked(work: UnitOfWork, user_id: UserId) -> Recipient:
    """The user's row, made where there is none."""
    row = {"user_id": user_id, "email": None, "name": None, "updated_at": work.now, "deleted_at": None}
    await insert_if_absent(work, Recipient.__table__, row)  # type: ignore[arg-type]  # the mapper types it wider
    recipient = await work.get(Recipient, user_id, lock=True)
    if recipient is None:
        raise LookupError(f"the row of {user_id} is gone, which nobody deletes")
    return recipient
