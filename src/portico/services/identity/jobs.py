from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, select

from portico.kit import ServiceContext, job
from portico.services.identity.lockout.domain import LOCKED_FOR, WINDOW
from portico.services.identity.lockout.models import Throttle
from portico.services.identity.revocations.models import LEEWAY, RevocationEntry
from portico.services.identity.sessions.models import RefreshToken, Session
from portico.services.identity.tickets.models import Ticket

_AT_ONCE: Final = 1000
_KEPT: Final = timedelta(days=1)


@job(name="delete-expired-credentials", every=timedelta(minutes=10))
async def forget_what_is_over(context: ServiceContext) -> None:
    """Delete tickets, throttles, revocations, refresh tokens and sessions that can't matter any more."""
    now = context.clock.now()
    over: list[tuple[Any, ColumnElement[bool]]] = [
        (Ticket.digest, Ticket.expires_at < now),
        (Throttle.key, Throttle.changed_at < now - WINDOW - LOCKED_FOR),
        (RevocationEntry.number, RevocationEntry.expires_at < now - LEEWAY - _KEPT),
        (RefreshToken.digest, RefreshToken.expires_at < now - _KEPT),
    ]
    for key, condition in over:
        await _delete(context, key, condition)
    # A session that ended is asked for as long as one of its access tokens lives; its refresh tokens go before it.
    ended = (Session.ended_at < now - _KEPT) | (Session.expires_at < now - _KEPT)
    finished = select(Session.session_id).where(ended, Session.tokens_expire_at < now - _KEPT)
    for key, owner in ((RefreshToken.digest, RefreshToken.session_id), (Ticket.digest, Ticket.session_id)):
        await _delete(context, key, owner.in_(finished))
    free = ~select(RefreshToken.digest).where(RefreshToken.session_id == Session.session_id).exists()
    await _delete(context, Session.session_id, Session.session_id.in_(finished) & free)


async def _delete(context: ServiceContext, key: Any, condition: ColumnElement[bool]) -> None:
    """Delete the rows for which `condition` holds, some at a time, so that nobody waits long for a lock."""
    while True:
        async with context.transaction() as work:
            keys = await work.all(select(key).where(condition).limit(_AT_ONCE))
            if keys:
                await work.execute(delete(key.class_).where(key.in_(keys)).execution_options(synchronize_session=False))
        if len(keys) < _AT_ONCE:
            return
