from typing import Annotated

from fastapi import Query

from portico.contracts.identity import SessionId
from portico.kit import Context, FromService, Page, Reads, RequestClient, Router, SignedIn, Work
from portico.services.identity.errors import SessionNotFound
from portico.services.identity.sessions import service
from portico.services.identity.sessions.repository import RevocationFeed, Sessions, assign_feed_positions
from portico.services.identity.sessions.schemas import RevocationRead, RevocationsRead, SessionRead

sessions = Router(tags=["sessions"])
revocations = Router(prefix="/auth/revocations", tags=["revocations"])


@sessions.post("/auth/logout", status_code=204)
async def sign_out(caller: SignedIn, work: Work, client: RequestClient) -> None:
    """End the session that the caller's token belongs to."""
    session = await Sessions(work).lock(caller.user_id, SessionId(caller.session_id or ""))
    service.end_session(work, session, actor=caller.subject, client=client, reason="signed_out")


@sessions.get("/auth/sessions")
async def list_sessions(caller: SignedIn, reads: Reads, page: Page) -> list[SessionRead]:
    """List the caller's sessions, newest first."""
    found = await Sessions(reads).page_open(caller.user_id, page)
    page.set_headers(found)
    return [SessionRead.from_session(session, current=caller.session_id) for session in found.rows]


@sessions.delete("/auth/sessions/{session_id}", status_code=204, errors=[SessionNotFound])
async def revoke_session(session_id: SessionId, caller: SignedIn, work: Work, client: RequestClient) -> None:
    """End one of the caller's sessions. Its tokens are rejected everywhere within two seconds."""
    session = await Sessions(work).lock(caller.user_id, session_id)
    service.end_session(work, session, actor=caller.subject, client=client, reason="revoked")


@revocations.get("", quiet=True)
async def read_revocations(
    _caller: FromService,
    reads: Reads,
    context: Context,
    since: Annotated[
        str | None, Query(pattern=r"^\d{1,18}$", description="The cursor of the previous response")
    ] = None,
) -> RevocationsRead:
    """Return revocations after `since`; without it, all that still matter."""
    feed = RevocationFeed(reads)
    if await feed.has_unpositioned():
        async with context.transaction() as work:
            await assign_feed_positions(work)
    page = await feed.after(int(since or 0))
    return RevocationsRead(
        revocations=[RevocationRead.of(entry) for entry in page.entries], cursor=str(page.position), more=page.more
    )
