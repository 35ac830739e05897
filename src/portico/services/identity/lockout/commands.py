import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from sqlalchemy import Table as CoreTable
from sqlalchemy import select, update

from portico.kit import Reader, ServiceContext, UnitOfWork
from portico.kit.data import insert_if_absent
from portico.services.identity.lockout.errors import SignInLocked
from portico.services.identity.lockout.models import Throttle
from portico.services.identity.settings import IdentitySettings

_TRIES: Final = 3  # the job that tidies up may take the row away between two statements


@dataclass(frozen=True, slots=True)
class LoginKey:
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


async def ensure_may_try(source: Reader, login_key: LoginKey) -> None:
    """Raises SignInLocked where the account or the address is locked. In a unit of work the rows stay locked."""
    statement = select(Throttle).where(Throttle.key.in_(login_key.keys)).order_by(Throttle.key)
    if isinstance(source, UnitOfWork):
        statement = statement.with_for_update()
    _refuse_locked(await source.all(statement), source.clock.now())


async def prepare_counting(context: ServiceContext, login_key: LoginKey) -> None:
    """Have the rows in which failures are counted, in a transaction of its own.

    MariaDB locks a row that an insert finds there for reading; of two who then lock it for writing one is a deadlock.
    """
    async with context.transaction() as work:
        for key in login_key.keys:
            await _insert(work, key)


async def count_failure(work: UnitOfWork, login_key: LoginKey, settings: IdentitySettings) -> bool:
    """Count a failed sign-in for the account and the address, as prepared; whether that locks either.

    Raises SignInLocked where others' failures, counted while this one was being found out, have locked them already.
    """
    limits = {
        login_key.account_key: settings.lockout_failures,
        login_key.address_key: settings.lockout_failures_per_address,
    }
    throttles = [await _throttle(work, key) for key in login_key.keys]
    _refuse_locked(throttles, work.now)
    locks = [throttle.fail(work.now, most=limits[throttle.key]) for throttle in throttles]  # each counts
    return any(locks)


async def forgive(work: UnitOfWork, login_key: LoginKey) -> None:
    """Forget the account's failures after a sign-in; those of the address stay, it may guess at others."""
    await work.execute(
        update(Throttle).where(Throttle.key == login_key.account_key).values(failures=[], locked_until=None)
    )


async def _throttle(work: UnitOfWork, key: str) -> Throttle:
    for _ in range(_TRIES):
        throttle = await work.get(Throttle, key, lock=True)
        if throttle is not None:
            return throttle
        await _insert(work, key)
    raise LookupError("the throttle's row is removed again and again")


async def _insert(work: UnitOfWork, key: str) -> None:
    table = cast("CoreTable", Throttle.__table__)
    await insert_if_absent(work, table, {"key": key, "failures": [], "changed_at": work.now})


def _refuse_locked(throttles: Iterable[Throttle], now: datetime) -> None:
    waits = [wait for throttle in throttles if (wait := throttle.wait(now))]
    if waits:
        raise SignInLocked(retry_after=max(waits).total_seconds())


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode()).hexdigest()
