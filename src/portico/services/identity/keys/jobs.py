from datetime import timedelta
from typing import cast

from portico.kit.auth.keys import PublicAlgorithm
from portico.kit.jobs import job
from portico.kit.running import Running
from portico.services.identity.keys.commands import drop_expired_keys, newest_key, rotate_keys
from portico.services.identity.keys.resources import KeyRing
from portico.services.identity.settings import IdentitySettings


@job(every=timedelta(hours=1))
async def rotate_old_keys(running: Running) -> None:
    """Replace a signing key that is old enough, and delete those that verify nothing any more."""
    ring = running.provides(KeyRing)
    async with running.reader() as reader:
        newest = await newest_key(reader)
    age = timedelta(days=running.settings_of(IdentitySettings).key_rotation_days)
    if newest is not None and newest.signs_from + age <= running.clock.now():
        await rotate_keys(running, ring.sealer, cast("PublicAlgorithm", newest.algorithm))
    async with running.transaction() as work:
        await drop_expired_keys(work, lasting=ring.lasting)
    ring.forget()
