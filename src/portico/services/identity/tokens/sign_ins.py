"""Sign-in with a password, and the lockout after failed attempts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from portico.contracts.identity import SessionId
from portico.kit import ClientInfo, Reader, ServiceContext, UnitOfWork
from portico.services.identity.errors import SignInLocked, SignInRefused
from portico.services.identity.repository import audit
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.access_tokens import TokenIssuer
from portico.services.identity.tokens.device_tokens import DeviceTokens
from portico.services.identity.tokens.domain import LoginKey
from portico.services.identity.tokens.models import SignInThrottle
from portico.services.identity.tokens.repository import (
    Throttles,
    clear_account_failures,
    insert_throttles,
    lock_throttles,
)
from portico.services.identity.tokens.service import Grant, open_session
from portico.services.identity.users.domain import key_of
from portico.services.identity.users.models import User
from portico.services.identity.users.passwords import PasswordHasher
from portico.services.identity.users.repository import Users


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """An email address and a password, and the client that sent them, perhaps with its device token."""

    email: str
    password: str
    client: ClientInfo
    device_token: str | None = None

    @property
    def account(self) -> str:
        """The key of the email address, or what was entered instead of one."""
        return key_of(self.email) or self.email


class SignIns:
    """Check passwords and open sessions."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._hasher = context.resource(PasswordHasher)
        self._issuer = context.resource(TokenIssuer)
        self._settings = context.settings_of(IdentitySettings)
        self._devices = DeviceTokens(context.secrets.secret_key.get_secret_value())

    async def sign_in(self, reads: Reader, work: UnitOfWork, attempt: SignInAttempt) -> Grant:
        """Open a session. Raises as `authenticate` does."""
        user = await self.authenticate(reads, work, attempt)
        grant = await open_session(work, user, self._issuer, self._settings, client=attempt.client)
        audit(
            work,
            "sign_in.succeeded",
            actor=user.user_id,
            user_id=user.user_id,
            client=attempt.client,
            session_id=grant.access.claims.session_id,
        )
        return grant

    async def authenticate(self, reads: Reader, work: UnitOfWork, attempt: SignInAttempt) -> User:
        """Return the locked user whose password it is. The transaction begins after the password was hashed.

        Raises:
            SignInRefused: the email address or the password is wrong, or the account is not active.
            SignInLocked: too many failures.
            HashingBusy: too many passwords wait to be hashed.
        """
        login_key = await self._unlocked_key(reads, attempt)
        found = await Users(reads).find_by_email(key_of(attempt.email))
        known_hash = found.password_hash if found is not None and found.may_sign_in else None
        check = await self._hasher.verify(attempt.password, known_hash)
        if found is None or known_hash is None or not check.matches:
            await self._refuse(login_key, found, attempt.client)
        # Checked again under lock: concurrent guesses beyond the limit must not reveal which password was right.
        await ensure_not_locked(work, login_key, lock=True)
        user = await Users(work).get(found.user_id, lock=True)
        if not user.may_sign_in or user.password_hash != known_hash:
            raise SignInRefused
        if check.new_hash is not None:
            user.password_hash = check.new_hash
        await clear_account_failures(work, login_key)
        return user

    def issue_device_token(self, attempt: SignInAttempt) -> str:
        """Return the token that recognizes the device of a successful attempt at its next one."""
        return self._devices.issue(attempt.account, self._context.clock.now())

    async def check_password(
        self, reads: Reader, user: User, password: str, *, session_id: SessionId, client: ClientInfo
    ) -> str:
        """Return the password hash of a signed-in user that the password matches. Raises as `sign_in` does.

        Failures are counted by the session. Those of others, who are not signed in, do not lock it.
        """
        login_key = LoginKey.of_session(session_id)
        await ensure_not_locked(reads, login_key)
        known_hash = user.password_hash
        check = await self._hasher.verify(password, known_hash)
        if known_hash is None or not check.matches:
            await self._refuse(login_key, user, client)
        return known_hash

    async def _unlocked_key(self, reads: Reader, attempt: SignInAttempt) -> LoginKey:
        """Return what a failure of the attempt is counted by. Raises SignInLocked.

        A known device is counted alone. Once its own failures have locked it, it is treated as an unknown one.
        """
        device = self._devices.find_device(attempt.device_token, attempt.account, reads.now)
        if device is not None:
            of_device = LoginKey.of_device(device, attempt.account)
            if not _remaining_locks(await Throttles(reads).find(of_device), reads.now):
                return of_device
        login_key = LoginKey(attempt.account, attempt.client.rate_limit_key)
        await ensure_not_locked(reads, login_key)
        return login_key

    async def _refuse(self, login_key: LoginKey, user: User | None, client: ClientInfo) -> NoReturn:
        """Count the failure in a transaction of its own, since the request's is rolled back with the 401."""
        user_id = user.user_id if user is not None else None
        await prepare_counting(self._context, login_key)
        async with self._context.transaction() as work:
            audit(work, "sign_in.failed", user_id=user_id, client=client)
            if await count_failure(work, login_key, self._settings):
                audit(work, "sign_in.locked", user_id=user_id, client=client)
        raise SignInRefused


@asynccontextmanager
async def open_sign_ins(context: ServiceContext) -> AsyncIterator[SignIns]:
    """Provide sign-in. The password hasher and the token issuer are opened before it."""
    yield SignIns(context)


async def ensure_not_locked(source: Reader, login_key: LoginKey, *, lock: bool = False) -> None:
    """Raise SignInLocked if the account or the address is locked. `lock` holds the rows until the transaction ends."""
    _raise_if_locked(await Throttles(source).find(login_key, lock=lock), source.clock.now())


async def prepare_counting(context: ServiceContext, login_key: LoginKey) -> None:
    """Insert the throttles that `count_failure` locks, in a transaction of its own.

    In MariaDB, an insert that finds its row takes a shared lock on it. Two transactions that then lock the row
    exclusively would deadlock.
    """
    async with context.transaction() as work:
        await insert_throttles(work, login_key)


async def count_failure(work: UnitOfWork, login_key: LoginKey, settings: IdentitySettings) -> bool:
    """Count a failed sign-in for the account and the address. Return whether it locked either.

    Raises:
        SignInLocked: concurrent failures have locked one of them.
    """
    limits = {
        login_key.account_key: settings.lockout_failures,
        login_key.address_key: settings.lockout_failures_per_address,
    }
    throttles = await lock_throttles(work, login_key)
    _raise_if_locked(throttles, work.now)
    locked = [throttle.record_failure(work.now, limit=limits[throttle.key]) for throttle in throttles]
    return any(locked)


def _raise_if_locked(throttles: Sequence[SignInThrottle], now: datetime) -> None:
    if remaining := _remaining_locks(throttles, now):
        raise SignInLocked(retry_after=max(remaining).total_seconds())


def _remaining_locks(throttles: Sequence[SignInThrottle], now: datetime) -> list[timedelta]:
    return [lock for throttle in throttles if (lock := throttle.remaining_lock(now))]
