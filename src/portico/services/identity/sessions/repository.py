from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Select, func, select

from portico.contracts.identity import SessionId, UserId
from portico.kit import Keyset, Reader, Slice, Window
from portico.services.identity.sessions.errors import SessionNotFound
from portico.services.identity.sessions.models import Session


class Sessions:
    """Sessions that are not ended; the others are of no use to anybody."""

    newest_first: ClassVar[Keyset] = Keyset.by("newest", Session.session_id, descending=True)

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def page(self, user_id: UserId, window: Window) -> Slice[Session]:
        """The user's sessions, newest first."""
        return await self.newest_first.page(self.source, self._open_of(user_id), window)

    async def get(self, user_id: UserId, session_id: SessionId) -> Session:
        """The user's session, locked. Raises SessionNotFound for another's, too."""
        found: Session | None = await self.source.one(
            self._open_of(user_id).where(Session.session_id == session_id).with_for_update()
        )
        if found is None:
            raise SessionNotFound(session_id=session_id)
        return found

    async def all_of(self, user_id: UserId) -> Sequence[Session]:
        """The user's sessions, the most recently used first, locked."""
        return await self.source.all(
            self._open_of(user_id).order_by(Session.last_used_at.desc(), Session.session_id.desc()).with_for_update()
        )

    async def tokens_expire_at(self, user_id: UserId) -> datetime | None:
        """When the last access token of any of the user's sessions expires."""
        latest = select(func.max(Session.tokens_expire_at)).where(Session.user_id == user_id)
        found: datetime | None = (await self.source.execute(latest)).scalar()
        return found

    def _open_of(self, user_id: UserId) -> Select[Any]:
        return select(Session).where(
            Session.user_id == user_id, Session.ended_at.is_(None), Session.expires_at > self.source.now
        )
