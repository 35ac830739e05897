from datetime import timedelta

from portico.kit import ServiceContext, job
from portico.services.identity.keys.commands import drop_expired_keys, replace_key
from portico.services.identity.keys.resources import KeyRing
from portico.services.identity.settings import IdentitySettings


@job(name="rotate-signing-keys", every=timedelta(hours=1))
async def rotate_old_keys(context: ServiceContext) -> None:
    """Replace a signing key that is old enough, and delete those that verify nothing any more."""
    ring = context.resource(KeyRing)
    started_by = context.clock.now() - timedelta(days=context.settings_of(IdentitySettings).key_rotation_days)
    algorithm = context.settings_of(IdentitySettings).jwt_algorithm
    if algorithm != "HS256":
        await replace_key(
            context, ring.sealer, algorithm, due=lambda newest: newest is not None and newest.signs_from <= started_by
        )
    async with context.transaction() as work:
        await drop_expired_keys(work, lasting=ring.lasting)
    ring.forget()
