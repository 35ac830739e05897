from typing import Annotated

from fastapi import Query
from sqlalchemy import select

from portico.kit import Keyset, Page, Principal, Reads, Router, UserId, permitted
from portico.services.identity.audit.models import AuditEntry
from portico.services.identity.audit.schemas import AuditEntryRead

router = Router(prefix="/audit", tags=["audit"])

_NEWEST_FIRST = Keyset.by("newest", AuditEntry.audit_id, descending=True)


@router.get("")
async def list_audit_entries(
    _caller: Annotated[Principal, permitted("audit:read")],
    reads: Reads,
    page: Page,
    user_id: Annotated[UserId | None, Query(description="Only what was done to this user")] = None,
    action: Annotated[str | None, Query(max_length=48, description="Only this action, such as sign_in.failed")] = None,
) -> list[AuditEntryRead]:
    """What happened that matters to security, newest first."""
    statement = select(AuditEntry)
    if user_id is not None:
        statement = statement.where(AuditEntry.user_id == user_id)
    if action is not None:
        statement = statement.where(AuditEntry.action == action)
    return page.of(AuditEntryRead, await _NEWEST_FIRST.page(reads, statement, page.window))
