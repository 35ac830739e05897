"""SQL that all of identity shares: singleton rows, the audit log, and deletion of expired rows."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, select

from portico.kit import ClientInfo, Repository, Slice, UnitOfWork, UserId, Window, newest_first
from portico.services.identity.models import AuditAction, AuditEntry, SingletonRow

_BATCH: Final = 1000


async def lock_singleton(work: UnitOfWork, name: str) -> SingletonRow:
    """Lock the singleton row `name` until the transaction ends. Raises LookupError."""
    row = await work.get(SingletonRow, name, lock=True)
    if row is None:
        raise LookupError(f"The singleton row {name!r} is missing. Run the migrations.")
    return row


def audit(
    work: UnitOfWork,
    action: AuditAction,
    *,
    actor: str | None = None,
    user_id: str | None = None,
    client: ClientInfo | None = None,
    **details: Any,
) -> None:
    """Add an entry to the audit log, in the transaction of the change that it describes.

    Args:
        work: the transaction.
        action: what was done.
        actor: who did it.
        user_id: the user that it was done to.
        client: where the request came from.
        details: further JSON values; no secrets and no email addresses.
    """
    work.add(
        AuditEntry(
            at=work.now,
            action=action,
            actor=actor,
            user_id=user_id,
            address=client.address[:64] if client else None,
            details=details,
        )
    )


class AuditLog(Repository[AuditEntry]):
    """The audit log, newest entries first."""

    model, order = AuditEntry, newest_first(AuditEntry.audit_id)

    async def search(self, window: Window, *, user_id: UserId | None, action: str | None) -> Slice[AuditEntry]:
        """Return a page of entries, optionally those of one user or one action."""
        return await self.page(
            window,
            None if user_id is None else AuditEntry.user_id == user_id,
            None if action is None else AuditEntry.action == action,
        )


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """Rows of one table that may be deleted: the key column and the condition that selects them."""

    key: Any
    condition: ColumnElement[bool]

    async def delete_batch(self, work: UnitOfWork) -> bool:
        """Delete up to 1,000 of the rows. Return whether there may be more."""
        keys = await work.all(select(self.key).where(self.condition).limit(_BATCH))
        if keys:
            statement = delete(self.key.class_).where(self.key.in_(keys))
            await work.execute(statement.execution_options(synchronize_session=False))
        return len(keys) == _BATCH
