from datetime import datetime, timedelta

from portico.kit.jobs import job
from portico.kit.running import Running
from portico.services.identity.keys.commands import drop_expired_keys, newest_key, rotate_keys
from portico.services.identity.keys.models import StoredKey
from portico.services.identity.keys.resources import KeyRing
from portico.services.identity.settings import IdentitySettings


@job(every=timedelta(hours=1))
async def rotate_old_keys(running: Running) -> None:
    """Replace a signing key that is old enough, and delete those that verify nothing any more."""
    ring = running.provides(KeyRing)
    age = timedelta(days=running.settings_of(IdentitySettings).key_rotation_days)
    algorithm = running.settings.jwt_algorithm
    if algorithm != "HS256":
        async with running.reader() as reader:
            newest = await newest_key(reader)
        oldest_start = running.clock.now() - age
        if _is_old(newest, oldest_start):
            await rotate_keys(running, ring.sealer, algorithm, due=lambda newest: _is_old(newest, oldest_start))
    async with running.transaction() as work:
        await drop_expired_keys(work, lasting=ring.lasting)
    ring.forget()


def _is_old(key: StoredKey | None, oldest_start: datetime) -> bool:
    return key is not None and key.signs_from <= oldest_start
