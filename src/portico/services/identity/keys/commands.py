import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import delete, select

from portico.kit.auth.keys import PublicAlgorithm, SigningKey
from portico.kit.data.work import Reader, UnitOfWork
from portico.kit.running import Running
from portico.services.identity.audit.commands import record
from portico.services.identity.keys.domain import Sealer
from portico.services.identity.keys.models import StoredKey
from portico.services.identity.models import KEYS
from portico.services.identity.repository import hold
from portico.services.identity.settings import IdentitySettings

_AFTER: Final = timedelta(microseconds=1)  # no two keys take over at the same moment


async def rotate_keys(
    running: Running,
    sealer: Sealer,
    algorithm: PublicAlgorithm,
    *,
    at_once: bool = False,
    withdraw: bool = False,
    due: Callable[[StoredKey | None], bool] = lambda _: True,
) -> StoredKey | None:
    """Publish a new signing key, which takes over after the lead time that verifiers need to fetch it.

    Args:
        running: identity.
        sealer: encrypts the private key.
        algorithm: of the new key.
        at_once: sign with it now; verifiers meet it as an unknown key, and look for it.
        withdraw: throw the older keys away, because one became known: everybody's access tokens end.
        due: whether the newest key, looked at when no other process can add one, is to be replaced; else None comes back.
    """
    key = await asyncio.to_thread(SigningKey.generate, algorithm)
    async with running.transaction() as work:
        await hold(work, KEYS)
        newest = await newest_key(work)
        if not due(newest):
            return None
        if withdraw:
            await work.execute(delete(StoredKey))
        signs_from = work.now if at_once or withdraw or newest is None else work.now + _lead(running)
        if newest is not None and not withdraw:
            signs_from = max(signs_from, newest.signs_from + _AFTER)
        stored = StoredKey.of(key, sealer, signs_from=signs_from, now=work.now)
        work.add(stored)
        record(work, "keys.rotated", kid=key.kid, algorithm=algorithm, at_once=at_once, withdrawn=withdraw)
    return stored


async def ensure_key(running: Running, sealer: Sealer, algorithm: PublicAlgorithm) -> None:
    """Make the first key, or one of `algorithm` where the setting was changed; of processes at once, one does."""

    def due(newest: StoredKey | None) -> bool:
        return newest is None or newest.algorithm != algorithm

    async with running.reader() as reader:
        newest = await newest_key(reader)
    if due(newest):
        await rotate_keys(running, sealer, algorithm, due=due)


def _lead(running: Running) -> timedelta:
    return timedelta(minutes=running.settings_of(IdentitySettings).key_lead_minutes)


async def drop_expired_keys(work: UnitOfWork, *, lasting: timedelta) -> None:
    """Delete the private keys whose last token has expired; `lasting` is how long a token may be verified."""
    await hold(work, KEYS)
    keys = await work.all(select(StoredKey).order_by(StoredKey.signs_from, StoredKey.kid))
    for key, successor in pairwise(keys):
        if successor.signs_from + lasting <= work.now:
            await work.delete(key)


async def newest_key(source: Reader) -> StoredKey | None:
    """The key that was made last."""
    rows = await source.all(select(StoredKey).order_by(StoredKey.signs_from.desc(), StoredKey.kid.desc()).limit(1))
    return rows[0] if rows else None
