"""Tokens that users receive by mail: to reset a forgotten password, and to verify an email address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from portico.contracts.identity import EmailVerificationRequested, MailedTokenSeal, PasswordResetRequested
from portico.kit import ClientInfo, Reader, ServiceContext, UnitOfWork, get_logger
from portico.kit.data import is_transient
from portico.kit.foundation import wait_for_event
from portico.services.identity.errors import EmailUnknown, MailedTokenInvalid, MailUnavailable
from portico.services.identity.repository import audit
from portico.services.identity.service import end_sessions
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import (
    MAIL_WINDOW,
    MAX_MAILS,
    LoginKey,
    MailPurpose,
    digest_of,
    new_secret,
)
from portico.services.identity.tokens.models import MailedToken
from portico.services.identity.tokens.repository import (
    clear_account_failures,
    count_mailed_tokens,
    delete_mailed_tokens,
    insert_mail_request,
    take_mail_request,
)
from portico.services.identity.users.domain import key_of
from portico.services.identity.users.models import User
from portico.services.identity.users.repository import Users

logger = get_logger(__name__)

MAIL_SERVICE: Final = "notifications"
_POLL: Final = 60.0  # seconds between two checks for requests of a process that ended
_EVENTS: Final = {"reset_password": PasswordResetRequested, "verify_email": EmailVerificationRequested}


@dataclass(frozen=True, slots=True)
class NewMailedToken:
    """A token in clear, and when it expires."""

    text: str
    expires_at: datetime


class MailedTokens:
    """Handle requests for mails: issue a token to the user whose address it is, and publish it sealed.

    Requests are handled after the response, so that the response takes the same time for any address.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._seal = MailedTokenSeal(context.secrets.service_secret.get_secret_value())
        settings = context.settings_of(IdentitySettings)
        self._lifetimes: dict[MailPurpose, timedelta] = {
            "reset_password": timedelta(minutes=settings.password_reset_minutes),
            "verify_email": timedelta(hours=settings.email_verification_hours),
        }
        self._wakeup = asyncio.Event()

    async def request(self, work: UnitOfWork, purpose: MailPurpose, email_key: str | None) -> None:
        """Store a request for a mail to the address with this key. Raises MailUnavailable."""
        if MAIL_SERVICE not in self._context.system.services:
            raise MailUnavailable(system=self._context.system.name)
        await insert_mail_request(work, purpose, email_key or "")
        work.after_commit(self._wakeup.set)

    async def run(self) -> None:
        """Handle requests until the service stops."""
        while not self._context.stopping.is_set():
            self._wakeup.clear()
            try:
                await self.handle_requests()
            except Exception as error:
                if not is_transient(error):
                    logger.exception("mail_request_failed", service=self._context.name)
            await wait_for_event(self._wakeup, _POLL)

    async def handle_requests(self) -> None:
        """Handle all waiting requests, each in a transaction of its own."""
        while await self._context.transact(self._handle_one):
            pass

    def issue(self, work: UnitOfWork, user: User, purpose: MailPurpose) -> NewMailedToken:
        """Return a new token for a locked user."""
        token = NewMailedToken(new_secret(), work.now + self._lifetimes[purpose])
        work.add(
            MailedToken(
                digest=digest_of(token.text),
                purpose=purpose,
                user_id=user.user_id,
                email_key=user.email_key or "",
                created_at=work.now,
                expires_at=token.expires_at,
            )
        )
        return token

    async def _handle_one(self, work: UnitOfWork) -> bool:
        """Handle the oldest request. Return whether there was one."""
        request = await take_mail_request(work)
        if request is None:
            return False
        found = await Users(work).find_by_email(request.email_key)
        user = None if found is None else await Users(work).find(found.user_id, lock=True)
        if user is None or not user.may_sign_in or (request.purpose == "verify_email" and user.email_verified):
            return True
        if await count_mailed_tokens(work, user.user_id, request.purpose, since=work.now - MAIL_WINDOW) >= MAX_MAILS:
            return True
        token = self.issue(work, user, request.purpose)
        sealed = self._seal.seal(token.text, user.user_id)
        event = _EVENTS[request.purpose]
        work.publish(event(user_id=user.user_id, sealed_token=sealed, expires_at=token.expires_at))
        return True


async def issue_for_operator(context: ServiceContext, email: str) -> NewMailedToken:
    """Return a token to reset the password of the account with this address, in a transaction of its own.

    The operator passes it on to the user. Raises EmailUnknown.
    """
    async with context.transaction() as work:
        found = await Users(work).find_by_email(key_of(email))
        user = None if found is None else await Users(work).find(found.user_id, lock=True)
        if user is None or not user.may_sign_in:
            raise EmailUnknown
        audit(work, "user.password_reset_issued", actor="operator", user_id=user.user_id)
        return context.resource(MailedTokens).issue(work, user, "reset_password")


async def find_mailed_token(source: Reader, text: str, purpose: MailPurpose) -> MailedToken:
    """Return the token if it is valid for `purpose`. Raises MailedTokenInvalid."""
    token = await source.get(MailedToken, digest_of(text))
    if token is None or token.purpose != purpose or token.expires_at <= source.now:
        raise MailedTokenInvalid
    return token


async def reset_password(work: UnitOfWork, text: str, password_hash: str, *, client: ClientInfo) -> None:
    """Set a new password by a mailed token. All sessions end, and all tokens for this purpose become invalid.

    It also proves the address, and ends the lock that failed sign-ins put on the account. Raises MailedTokenInvalid.
    """
    user = await _redeem(work, text, "reset_password")
    user.change_password(password_hash, now=work.now)
    user.verify_email(now=work.now)
    await end_sessions(work, user.user_id, actor=user.user_id, client=client)
    await clear_account_failures(work, LoginKey(user.email_key or "", client.rate_limit_key))
    audit(work, "user.password_reset", actor=user.user_id, user_id=user.user_id, client=client)


async def verify_email(work: UnitOfWork, text: str, *, client: ClientInfo) -> User:
    """Record by a mailed token that a user reads the mails to the account's address. Raises MailedTokenInvalid."""
    user = await _redeem(work, text, "verify_email")
    user.verify_email(now=work.now)
    audit(work, "user.email_verified", actor=user.user_id, user_id=user.user_id, client=client)
    return user


async def _redeem(work: UnitOfWork, text: str, purpose: MailPurpose) -> User:
    """Return the token's user, locked, and delete all of the user's tokens for this purpose."""
    owner = (await find_mailed_token(work, text, purpose)).user_id
    user = await Users(work).get(owner, lock=True)
    # Read again under the lock: of two transactions with tokens of one user, one finds them deleted.
    token = await work.get(MailedToken, digest_of(text), lock=True)
    if token is None or not user.may_sign_in or user.email_key != token.email_key:
        raise MailedTokenInvalid
    await delete_mailed_tokens(work, owner, purpose)
    return user


@asynccontextmanager
async def open_mailed_tokens(context: ServiceContext) -> AsyncIterator[MailedTokens]:
    """Provide the service's mailed tokens."""
    yield MailedTokens(context)


async def run_mailed_tokens(context: ServiceContext) -> None:
    """Handle requests for mails while the service runs."""
    await context.resource(MailedTokens).run()
