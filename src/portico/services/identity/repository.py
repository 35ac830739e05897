from portico.kit import UnitOfWork
from portico.services.identity.models import SingletonRow


async def hold(work: UnitOfWork, name: str) -> SingletonRow:
    """Lock the latch `name` until the transaction ends."""
    latch = await work.get(SingletonRow, name, lock=True)
    if latch is None:
        raise LookupError(f"the latch {name!r} is missing: run the migrations")
    return latch
