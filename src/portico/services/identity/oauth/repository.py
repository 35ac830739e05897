from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from portico.contracts.identity import SessionId, UserId
from portico.kit import Reader, Repository, Slice, UnitOfWork, Window, newest_first
from portico.services.identity.errors import ClientNotFound
from portico.services.identity.models import Session
from portico.services.identity.oauth.domain import REPLAY_MEMORY
from portico.services.identity.oauth.models import AuthorizationCode, BrowserSecret, ClientId, Consent, OAuthClient
from portico.services.identity.repository import ExpiredRows, finished_sessions
from portico.services.identity.tokens.domain import digest_of
from portico.services.identity.users.models import User


class Clients(Repository[OAuthClient]):
    """Registered clients, newest first."""

    model, not_found, order = OAuthClient, ClientNotFound, newest_first(OAuthClient.client_id)

    async def find_active(self, text: str) -> OAuthClient | None:
        """Return the client with this id, as a request names it; None if it does not exist or was deleted."""
        if ClientId.pattern.fullmatch(text) is None:
            return None
        client = await self.find(ClientId(text))
        return None if client is None or client.deleted_at is not None else client

    async def get_active(self, client_id: ClientId, *, lock: bool = False) -> OAuthClient:
        """Return the client. Raises ClientNotFound, also for a deleted one."""
        client = await self.get(client_id, lock=lock)
        if client.deleted_at is not None:
            raise ClientNotFound(client_id=client_id)
        return client

    async def page_active(self, window: Window) -> Slice[OAuthClient]:
        """Return a page of the clients that are not deleted."""
        return await self.page(window, OAuthClient.deleted_at.is_(None))


async def consented_scope(source: Reader, user_id: UserId, client_id: ClientId) -> list[str]:
    """Return the scopes that the user has allowed the client to use."""
    consent = await source.get(Consent, (user_id, client_id))
    return [] if consent is None else consent.scope


@dataclass(frozen=True, slots=True)
class SignedInBrowser:
    """The open session that a browser's cookie belongs to, and its user."""

    session: Session
    user: User


async def find_browser(source: Reader, secret: str | None) -> SignedInBrowser | None:
    """Return the session of the browser with this secret, if it is open and its user may sign in. Loads no roles."""
    if not secret:
        return None
    statement = (
        select(Session, User)
        .join(BrowserSecret, BrowserSecret.session_id == Session.session_id)
        .join(User, User.user_id == Session.user_id)
        .where(BrowserSecret.digest == digest_of(secret))
    )
    row = (await source.execute(statement)).first()
    if row is None or not row.Session.is_open(source.now) or not row.User.may_sign_in:
        return None
    return SignedInBrowser(row.Session, row.User)


async def delete_browser_secrets(work: UnitOfWork, session_id: SessionId) -> None:
    """Delete the secrets of a browser's session: its cookie is no longer valid."""
    await work.execute(delete(BrowserSecret).where(BrowserSecret.session_id == session_id))


async def lock_sessions_of_browser(work: UnitOfWork, session_id: SessionId) -> Sequence[Session]:
    """Return the open sessions that clients opened from a browser's session, locked."""
    return await _lock_open(work, Session.browser_session_id == session_id)


async def lock_sessions_of_client(work: UnitOfWork, client_id: ClientId) -> Sequence[Session]:
    """Return the open sessions of a client, locked."""
    return await _lock_open(work, Session.client_id == client_id)


async def _lock_open(work: UnitOfWork, condition: Any) -> Sequence[Session]:
    is_open = (Session.ended_at.is_(None), Session.expires_at > work.now)
    statement = select(Session).where(condition, *is_open).order_by(Session.session_id)
    return await work.all(statement.with_for_update())


def expired_oauth_rows(now: datetime) -> list[ExpiredRows]:
    """Return what may be deleted. Delete it before the sessions that it refers to."""
    return [
        ExpiredRows(AuthorizationCode.digest, AuthorizationCode.expires_at < now - REPLAY_MEMORY),
        ExpiredRows(BrowserSecret.digest, BrowserSecret.expires_at < now),
        ExpiredRows(BrowserSecret.digest, BrowserSecret.session_id.in_(finished_sessions(now))),
    ]
