from portico.kit.data.work import UnitOfWork
from portico.services.identity.models import Latch


async def hold(work: UnitOfWork, name: str) -> Latch:
    """Lock the latch `name` until the transaction ends."""
    latch = await work.get(Latch, name, lock=True)
    if latch is None:
        raise LookupError(f"the latch {name!r} is missing: run the migrations")
    return latch
