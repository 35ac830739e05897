from datetime import timedelta

from portico.kit import ServiceContext, job
from portico.services.identity.oauth.repository import expired_oauth_rows
from portico.services.identity.repository import expired_session_rows
from portico.services.identity.tokens.key_ring import KeyRing
from portico.services.identity.tokens.repository import expired_token_rows


@job(name="rotate-signing-keys", every=timedelta(hours=1))
async def rotate_signing_keys(context: ServiceContext) -> None:
    """Replace the signing key when it is old enough, and delete keys that verify no token any more."""
    await context.resource(KeyRing).rotate_if_due()


@job(name="delete-expired-credentials", every=timedelta(minutes=10))
async def delete_expired_rows(context: ServiceContext) -> None:
    """Delete tickets, authorization codes, throttles, revocations, refresh tokens and sessions that have expired.

    Each batch is a transaction of its own, so that no lock is held for long.
    """
    now = context.clock.now()
    for expired in (*expired_token_rows(now), *expired_oauth_rows(now), *expired_session_rows(now)):
        more = True
        while more:
            async with context.transaction() as work:
                more = await expired.delete_batch(work)
