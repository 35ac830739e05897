import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import delete, select

from portico.kit import Reader, ServiceContext, UnitOfWork
from portico.kit.auth import PublicAlgorithm, SigningKey
from portico.services.identity.audit.commands import record
from portico.services.identity.keys.domain import Sealer
from portico.services.identity.keys.models import StoredKey
from portico.services.identity.models import KEYS
from portico.services.identity.repository import hold
from portico.services.identity.settings import IdentitySettings

_AFTER: Final = timedelta(microseconds=1)  # no two keys take over at the same moment


async def rotate_keys(
    context: ServiceContext,
    sealer: Sealer,
    algorithm: PublicAlgorithm,
    *,
    at_once: bool = False,
    withdraw: bool = False,
) -> StoredKey:
    """Publish a new signing key, which takes over after the lead time that verifiers need to fetch it.

    Args:
        context: identity.
        sealer: encrypts the private key.
        algorithm: of the new key.
        at_once: sign with it now, and wait for no other that is to come; verifiers meet it as an unknown key, and look
            for it.
        withdraw: throw the older keys away, because one became known: everybody's access tokens end.
    """
    key = await asyncio.to_thread(SigningKey.generate, algorithm)
    async with context.transaction() as work:
        await hold(work, KEYS)
        if withdraw:
            await work.execute(delete(StoredKey))
        elif at_once:
            await _let_all_take_over(work)
        lead = timedelta() if at_once or withdraw else _lead(context)
        return await _publish(work, key, sealer, lead=lead, withdrawn=withdraw)


async def replace_key(
    context: ServiceContext, sealer: Sealer, algorithm: PublicAlgorithm, *, due: Callable[[StoredKey | None], bool]
) -> None:
    """Publish a new signing key where the newest one is `due` for it; of several processes at once, one does."""
    async with context.reader() as reader:
        if not due(await newest_key(reader)):
            return
    key = await asyncio.to_thread(SigningKey.generate, algorithm)
    async with context.transaction() as work:
        await hold(work, KEYS)
        if due(await newest_key(work)):
            await _publish(work, key, sealer, lead=_lead(context))


async def _let_all_take_over(work: UnitOfWork) -> None:
    """Have the keys that are to come take over now, one after the other: a newer one can't sign before they have."""
    moment = work.now
    for key in await _keys(work):
        key.signs_from = min(key.signs_from, moment)
        moment = max(moment, key.signs_from + _AFTER)
    await work.flush()


async def _keys(source: Reader) -> Sequence[StoredKey]:
    """All keys, in the order in which they take over."""
    return await source.all(select(StoredKey).order_by(StoredKey.signs_from, StoredKey.kid))


async def _publish(
    work: UnitOfWork, key: SigningKey, sealer: Sealer, *, lead: timedelta, withdrawn: bool = False
) -> StoredKey:
    """Add `key` to the ring, whose latch is held. The first one signs at once: there is no other."""
    newest = await newest_key(work)
    signs_from = work.now if newest is None else max(work.now + lead, newest.signs_from + _AFTER)
    stored = StoredKey.of(key, sealer, signs_from=signs_from, now=work.now)
    work.add(stored)
    record(
        work,
        "keys.rotated",
        kid=key.kid,
        algorithm=key.algorithm,
        signs_from=signs_from.isoformat(),
        withdrawn=withdrawn,
    )
    return stored


def _lead(context: ServiceContext) -> timedelta:
    return timedelta(minutes=context.settings_of(IdentitySettings).key_lead_minutes)


async def drop_expired_keys(work: UnitOfWork, *, lasting: timedelta) -> None:
    """Delete the private keys whose last token has expired; `lasting` is how long a token may be verified."""
    await hold(work, KEYS)
    for key, successor in pairwise(await _keys(work)):
        if successor.signs_from + lasting <= work.now:
            await work.delete(key)


async def newest_key(source: Reader) -> StoredKey | None:
    """The key that was made last."""
    rows = await source.all(select(StoredKey).order_by(StoredKey.signs_from.desc(), StoredKey.kid.desc()).limit(1))
    return rows[0] if rows else None
