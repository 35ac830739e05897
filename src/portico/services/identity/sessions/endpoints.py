from typing import Annotated

from fastapi import Response

from portico.contracts.identity import SessionId
from portico.kit import Context, Page, Reads, RequestClient, Router, SignedIn, Work, provided
from portico.services.identity.sessions.commands import end_session, refresh_session
from portico.services.identity.sessions.errors import RefreshRefused, SessionNotFound
from portico.services.identity.sessions.repository import Sessions
from portico.services.identity.sessions.schemas import Refresh, SessionRead, TokensRead
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.resources import TokenIssuer

router = Router(tags=["sessions"])
Issuer = Annotated[TokenIssuer, provided(TokenIssuer)]


@router.post("/auth/refresh", stores_answer=False, errors=[RefreshRefused])
async def refresh(
    refreshing: Refresh, context: Context, issuer: Issuer, device: RequestClient, response: Response
) -> TokensRead:
    """A new pair of tokens. A refresh token works once; a second use after the leeway ends the session."""
    response.headers["cache-control"] = "no-store"
    settings = context.settings_of(IdentitySettings)
    # In a transaction of its own: that a stolen token ended its family must be kept although the answer is 401.
    async with context.transaction() as work:
        grant = await refresh_session(work, refreshing.refresh_token, issuer, settings, device=device)
    if grant is None:
        raise RefreshRefused
    return TokensRead.of_grant(grant)


@router.post("/auth/logout", status_code=204)
async def sign_out(caller: SignedIn, work: Work, device: RequestClient) -> None:
    """End the session that the caller's token belongs to."""
    session = await Sessions(work).get(caller.user_id, SessionId(caller.session_id or ""))
    end_session(work, session, actor=caller.subject, device=device, reason="signed_out")


@router.get("/auth/sessions")
async def list_sessions(caller: SignedIn, reads: Reads, page: Page) -> list[SessionRead]:
    """Where the caller is signed in, newest first."""
    found = await Sessions(reads).page(caller.user_id, page.window)
    page.set_headers(found)
    return [SessionRead.seen_from(session, caller.session_id) for session in found.rows]


@router.delete("/auth/sessions/{session_id}", status_code=204, errors=[SessionNotFound])
async def revoke_session(session_id: SessionId, caller: SignedIn, work: Work, device: RequestClient) -> None:
    """Sign the caller out of one session. Its tokens stop working everywhere within two seconds."""
    session = await Sessions(work).get(caller.user_id, session_id)
    end_session(work, session, actor=caller.subject, device=device, reason="revoked")
