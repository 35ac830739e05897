"""Use cases of sign-on in the browser: the session that OAuth clients share there."""

from datetime import timedelta

from portico.contracts.identity import SessionId, UserId
from portico.kit import ClientInfo, UnitOfWork
from portico.services.identity.models import Session
from portico.services.identity.oauth.domain import OFFLINE_ACCESS
from portico.services.identity.oauth.models import BrowserSecret
from portico.services.identity.oauth.repository import (
    delete_browser_secrets,
    find_browser,
    lock_sessions_of_browser,
)
from portico.services.identity.repository import audit
from portico.services.identity.service import end_session
from portico.services.identity.settings import IdentitySettings, SessionLimits
from portico.services.identity.tokens.domain import digest_of, new_secret
from portico.services.identity.tokens.service import start_session
from portico.services.identity.users.models import User
from portico.services.identity.users.repository import Users


async def sign_in_browser(
    work: UnitOfWork, user: User, settings: IdentitySettings, *, previous: str | None, client_info: ClientInfo
) -> str:
    """Return the secret for the cookie of a browser in which a locked user has just proved who it is.

    The session of the `previous` secret continues if it is the same user's, so that signing out later still ends what
    clients opened from it. Another user's ends.
    """
    lifetime = timedelta(hours=settings.browser_session_hours)
    before = await find_browser(work, previous)
    session = None
    if before is not None and before.user.user_id == user.user_id:
        session = await work.get(Session, before.session.session_id, lock=True)
        await delete_browser_secrets(work, before.session.session_id)
    if session is None or not session.is_open(work.now):
        session = await start_session(
            work, user, settings, client=client_info, limits=SessionLimits(lifetime, lifetime)
        )
    session.authenticate(lifetime=lifetime, now=work.now)
    secret = new_secret()
    await work.flush()
    work.add(BrowserSecret(digest=digest_of(secret), session_id=session.session_id, expires_at=session.expires_at))
    audit(
        work,
        "sign_in.succeeded",
        actor=user.user_id,
        user_id=user.user_id,
        client=client_info,
        session_id=session.session_id,
    )
    return secret


async def sign_out_browser(work: UnitOfWork, session_id: SessionId, *, client_info: ClientInfo) -> None:
    """End a browser's session, and what clients opened from it unless the user allowed them offline access."""
    found = await work.get(Session, session_id)
    if found is None:
        return
    await Users(work).find(found.user_id, lock=True)
    sessions = [await work.get(Session, session_id, lock=True), *await lock_sessions_of_browser(work, session_id)]
    for session in sessions:
        if session is not None and session.is_open(work.now) and OFFLINE_ACCESS not in (session.scope or ()):
            end_session(work, session, actor=session.user_id, client=client_info, reason="signed_out")
    await delete_browser_secrets(work, session_id)


async def sign_out_session(
    work: UnitOfWork, session_id: SessionId, user_id: UserId, *, client_info: ClientInfo
) -> None:
    """End a client's session and the browser's session that it was opened from (RP-initiated logout)."""
    await Users(work).find(user_id, lock=True)
    session = await work.get(Session, session_id, lock=True)
    if session is None or session.user_id != user_id:
        return
    if session.is_open(work.now):
        end_session(work, session, actor=user_id, client=client_info, reason="signed_out")
    if session.browser_session_id is not None:
        await sign_out_browser(work, session.browser_session_id, client_info=client_info)
