from datetime import timedelta

from portico.kit.jobs import job
from portico.kit.running import Running
from portico.services.identity.keys.commands import drop_expired_keys, replace_key
from portico.services.identity.keys.resources import KeyRing
from portico.services.identity.settings import IdentitySettings


@job(every=timedelta(hours=1))
async def rotate_old_keys(running: Running) -> None:
    """Replace a signing key that is old enough, and delete those that verify nothing any more."""
    ring = running.provides(KeyRing)
    started_by = running.clock.now() - timedelta(days=running.settings_of(IdentitySettings).key_rotation_days)
    algorithm = running.settings.jwt_algorithm
    if algorithm != "HS256":
        await replace_key(
            running, ring.sealer, algorithm, due=lambda newest: newest is not None and newest.signs_from <= started_by
        )
    async with running.transaction() as work:
        await drop_expired_keys(work, lasting=ring.lasting)
    ring.forget()
