import hashlib
from dataclasses import dataclass
from typing import Final, cast

from sqlalchemy import Table as CoreTable
from sqlalchemy import select, update

from portico.kit.data.inserting import insert_unless_known
from portico.kit.data.work import Reader, UnitOfWork
from portico.services.identity.lockout.errors import SignInLocked
from portico.services.identity.lockout.models import Throttle
from portico.services.identity.settings import IdentitySettings

_TRIES: Final = 3  # the job that tidies up may take the row away between two statements


@dataclass(frozen=True, slots=True)
class Guesser:
    """Who tries: by what was typed for an account, and from where."""

    account: str
    address: str

    @property
    def account_key(self) -> str:
        return _digest("account", self.account)

    @property
    def address_key(self) -> str:
        return _digest("address", self.address)

    @property
    def keys(self) -> tuple[str, str]:
        """In the order in which their rows are locked, the same for everyone."""
        first, second = sorted((self.account_key, self.address_key))
        return first, second


async def ensure_may_try(source: Reader, guesser: Guesser) -> None:
    """Raises SignInLocked where the account or the address is locked. In a unit of work the rows stay locked."""
    statement = select(Throttle).where(Throttle.key.in_(guesser.keys)).order_by(Throttle.key)
    if isinstance(source, UnitOfWork):
        statement = statement.with_for_update()
    waits = [wait for throttle in await source.all(statement) if (wait := throttle.wait(source.clock.now()))]
    if waits:
        raise SignInLocked(retry_after=max(waits).total_seconds())


async def count_failure(work: UnitOfWork, guesser: Guesser, settings: IdentitySettings) -> bool:
    """Count a failed sign-in for the account and the address; whether that locks either."""
    limits = {
        guesser.account_key: settings.lockout_failures,
        guesser.address_key: settings.lockout_failures_per_address,
    }
    locked = False
    for key in guesser.keys:
        locked |= (await _throttle(work, key)).fail(work.now, most=limits[key])
    return locked


async def forgive(work: UnitOfWork, guesser: Guesser) -> None:
    """Forget the account's failures after a sign-in; those of the address stay, it may guess at others."""
    await work.execute(
        update(Throttle).where(Throttle.key == guesser.account_key).values(failures=[], locked_until=None)
    )


async def _throttle(work: UnitOfWork, key: str) -> Throttle:
    table = cast("CoreTable", Throttle.__table__)
    for _ in range(_TRIES):
        await insert_unless_known(work, table, {"key": key, "failures": [], "changed_at": work.now})
        throttle = await work.get(Throttle, key, lock=True)
        if throttle is not None:
            return throttle
    raise LookupError("the throttle's row is removed again and again")


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode()).hexdigest()
