from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from portico.kit import ClientInfo, Reader, ServiceContext, UnitOfWork
from portico.services.identity.audit.commands import record
from portico.services.identity.lockout.commands import (
    LoginKey,
    count_failure,
    ensure_may_try,
    forgive,
    prepare_counting,
)
from portico.services.identity.passwords.resources import PasswordHasher
from portico.services.identity.sessions.commands import Grant, open_session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.sign_ins.errors import SignInRefused
from portico.services.identity.tokens.resources import TokenIssuer
from portico.services.identity.users.domain import key_of
from portico.services.identity.users.models import User
from portico.services.identity.users.repository import Users


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody says they are `email` and know its `password`."""

    email: str
    password: str
    device: ClientInfo

    @property
    def login_key(self) -> LoginKey:
        return LoginKey(key_of(self.email) or self.email, self.device.rate_limit_key)


class SignIns:
    """Checks passwords and opens sessions."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._hasher = context.resource(PasswordHasher)
        self._issuer = context.resource(TokenIssuer)
        self._settings = context.settings_of(IdentitySettings)

    async def sign_in(self, reads: Reader, work: UnitOfWork, attempt: Attempt) -> Grant:
        """Open a session. Raises SignInRefused, SignInLocked, HashingBusy.

        Nothing is open while the password is hashed: the transaction begins after it.
        """
        await ensure_may_try(reads, attempt.login_key)
        found = await Users(reads).find_by_key(key_of(attempt.email))
        known_hash = found.password_hash if found is not None and found.may_sign_in else None
        verdict = await self._hasher.verify(attempt.password, known_hash)
        if found is None or known_hash is None or not verdict.right:
            await self._refuse(attempt, found)
        # Looked at again under lock: of guesses side by side, those after the tenth failure must not tell which was right.
        await ensure_may_try(work, attempt.login_key)
        user = await self._still(work, found, known_hash)
        if verdict.new_hash is not None:
            user.password_hash = verdict.new_hash
        await forgive(work, attempt.login_key)
        grant = await open_session(work, user, self._issuer, self._settings, device=attempt.device)
        session_id = grant.access.claims.session_id
        record(
            work,
            "sign_in.succeeded",
            actor=user.user_id,
            user_id=user.user_id,
            device=attempt.device,
            session_id=session_id,
        )
        return grant

    async def check_password(self, reads: Reader, user: User, attempt: Attempt) -> str:
        """The hash that the signed-in `user` proved to know the password of. Raises as `sign_in` does."""
        await ensure_may_try(reads, attempt.login_key)
        known_hash = user.password_hash
        verdict = await self._hasher.verify(attempt.password, known_hash)
        if known_hash is None or not verdict.right:
            await self._refuse(attempt, user)
        return known_hash

    async def _refuse(self, attempt: Attempt, user: User | None) -> NoReturn:
        # In a transaction of its own: the answer is 401, and the boundary keeps nothing of a refused request.
        await prepare_counting(self._context, attempt.login_key)
        async with self._context.transaction() as work:
            user_id = user.user_id if user is not None else None
            record(work, "sign_in.failed", user_id=user_id, device=attempt.device)
            if await count_failure(work, attempt.login_key, self._settings):
                record(work, "sign_in.locked", user_id=user_id, device=attempt.device)
        raise SignInRefused

    async def _still(self, work: UnitOfWork, found: User, known_hash: str) -> User:
        """The user, locked, if it is still as it was while the password was checked. Raises SignInRefused."""
        user = await Users(work).get(found.user_id, lock=True)
        if not user.may_sign_in or user.password_hash != known_hash:
            raise SignInRefused
        return user


@asynccontextmanager
async def open_sign_ins(context: ServiceContext) -> AsyncIterator[SignIns]:
    """Sign-ins, with the hasher and the issuer that were opened before."""
    yield SignIns(context)
