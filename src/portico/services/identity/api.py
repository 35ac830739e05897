import asyncio
from typing import Annotated

from fastapi import Query, Response

from portico.contracts.identity import SessionId
from portico.kit import (
    Context,
    FromService,
    Page,
    Principal,
    Reads,
    RequestClient,
    Router,
    SignedIn,
    Slice,
    UserId,
    Work,
    inject,
    permitted,
)
from portico.kit.foundation import wait_for_event
from portico.services.identity import service
from portico.services.identity.errors import SessionNotFound
from portico.services.identity.models import REVOCATION_FEED, AuditEntry
from portico.services.identity.repository import AuditLog, RevocationFeed, Sessions, assign_feed_positions
from portico.services.identity.schemas import AuditEntryRead, KeySetRead, RevocationsRead, SessionRead
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.key_ring import KeyRing

MAX_FEED_WAIT = 5.0  # seconds
_FEED_POLL = 1.0  # seconds between two reads, for entries of other processes

sessions = Router(tags=["sessions"], description="Sign-in, refresh, sign-out and the caller's sessions")
revocations = Router(
    prefix="/auth/revocations", tags=["revocations"], description="Revoked sessions, for services", supplementary=True
)
audit_log = Router(
    prefix="/audit", tags=["audit"], description="Who did what to accounts and roles", supplementary=True
)
discovery = Router(
    tags=["discovery"],
    prefixed=False,
    description="What clients need to verify tokens (RFC 8414, RFC 7517)",
    supplementary=True,
)


@sessions.post("/auth/logout", status_code=204)
async def sign_out(caller: SignedIn, work: Work, client: RequestClient) -> None:
    """End the session that the caller's token belongs to."""
    session = await Sessions(work).lock(caller.user_id, SessionId(caller.session_id or ""))
    service.end_session(work, session, actor=caller.subject, client=client, reason="signed_out")


@sessions.get("/auth/sessions", response_model=list[SessionRead])
async def list_sessions(caller: SignedIn, reads: Reads, page: Page, context: Context) -> Slice[SessionRead]:
    """List the caller's sessions, newest first."""
    found = await Sessions(reads).page_open(caller.user_id, page)
    limits = context.settings_of(IdentitySettings).session_limits
    rows = [SessionRead.from_session(session, limits, current=caller.session_id) for session in found.rows]
    return found.with_rows(rows)


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
    wait: Annotated[
        float, Query(ge=0, le=MAX_FEED_WAIT, description="How long (seconds) to wait if there is no new entry")
    ] = 0,
) -> RevocationsRead:
    """Return revocations after `since`; without it, all that still matter."""
    feed, clock = RevocationFeed(reads), asyncio.get_running_loop().time
    until = clock() + wait
    with context.change_notifier.follow(REVOCATION_FEED) as changed:
        while True:
            changed.clear()
            page = await feed.after(int(since or 0))
            if page.has_unpositioned:
                async with context.transaction() as work:
                    await assign_feed_positions(work)
                continue
            if page.entries or page.more or clock() >= until or context.stopping.is_set():
                return RevocationsRead.from_page(page)
            await wait_for_event(changed, min(_FEED_POLL, until - clock()))


@audit_log.get("", response_model=list[AuditEntryRead])
async def list_audit_entries(
    _caller: Annotated[Principal, permitted("audit:read")],
    reads: Reads,
    page: Page,
    user_id: Annotated[UserId | None, Query(description="Only actions on this user")] = None,
    action: Annotated[str | None, Query(max_length=48, description="Only this action, such as sign_in.failed")] = None,
) -> Slice[AuditEntry]:
    """List security-relevant actions, newest first."""
    return await AuditLog(reads).search(page, user_id=user_id, action=action)


@discovery.get("/.well-known/jwks.json", quiet=True, any_origin=True)
async def read_key_set(ring: Annotated[KeyRing, inject(KeyRing)], response: Response) -> KeySetRead:
    """Return the public keys that verify access tokens (RFC 7517), including the one that will sign next."""
    response.headers["cache-control"] = "public, max-age=60"
    return KeySetRead(keys=await ring.public_keys())
