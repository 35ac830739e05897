"""Set-up at the start of identity: the system's roles and the first administrator."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from portico.contracts.identity import UserId
from portico.kit import ServiceContext
from portico.kit.settings import SettingsError
from portico.services.identity.errors import (
    EmailInvalid,
    EmailTaken,
    PasswordBreached,
    PasswordGuessable,
    PasswordTooLong,
)
from portico.services.identity.models import ADMINISTRATORS
from portico.services.identity.repository import lock_singleton
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.users.domain import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, Email, Names
from portico.services.identity.users.models import ADMINISTRATOR
from portico.services.identity.users.passwords import PasswordHasher
from portico.services.identity.users.repository import Users, declare_roles
from portico.services.identity.users.service import create_user

EMBEDDED_ADMINISTRATOR: Final = "admin@example.com"
_PASSWORD_BYTES: Final = 15  # 20 characters


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """The administrator that this start created; empty if there was one.

    `password` is set if it was generated. It is shown once and not stored.
    """

    email: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to be created by an operator."""

    email: str
    password: str
    name: str | None = None
    roles: tuple[str, ...] = ()
    email_verified: bool = False


async def create_account(context: ServiceContext, new: NewUser, *, actor: str = "operator") -> UserId:
    """Create an account in a transaction of its own.

    Raises EmailInvalid, EmailTaken, RoleUnknown, HashingBusy, and the problems of an unacceptable password.
    """
    email = Email.parse(new.email)
    password_hash = await context.resource(PasswordHasher).hash(new.password)
    async with context.transaction() as work:
        user = await create_user(
            work, email, Names(name=new.name), password_hash=password_hash, roles=new.roles, actor=actor
        )
        if new.email_verified:
            user.verify_email(now=work.now)
    return user.user_id


@asynccontextmanager
async def open_first_administrator(context: ServiceContext) -> AsyncIterator[FirstAdministrator]:
    """Declare the system's roles, and create an administrator if there is none. Raises SettingsError."""
    async with context.transaction() as work:
        await lock_singleton(work, ADMINISTRATORS)
        await declare_roles(work, context.system.roles)
        missing = await Users(work).count_administrators() == 0
    yield await _create_administrator(context) if missing else FirstAdministrator()


async def _create_administrator(context: ServiceContext) -> FirstAdministrator:
    settings = context.settings_of(IdentitySettings)
    if settings.admin_password is not None and settings.admin_email is None:
        raise SettingsError("ADMIN_PASSWORD is set, but ADMIN_EMAIL is not. Set both, or remove ADMIN_PASSWORD.")
    if settings.admin_email is not None and settings.admin_password is not None:
        password, generated = settings.admin_password.get_secret_value(), None
        if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
            raise SettingsError(f"ADMIN_PASSWORD must have {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters")
    elif context.secrets.generated:
        password = generated = secrets.token_urlsafe(_PASSWORD_BYTES)
    else:
        return FirstAdministrator()  # `portico users create --admin` creates one
    email = settings.admin_email or EMBEDDED_ADMINISTRATOR
    try:
        await create_account(context, NewUser(email, password, "Administrator", (ADMINISTRATOR,)), actor="first start")
    except EmailInvalid as error:
        raise SettingsError(f"ADMIN_EMAIL is not a valid email address: {error.reason}") from error
    except (PasswordGuessable, PasswordBreached, PasswordTooLong) as error:
        raise SettingsError(f"ADMIN_PASSWORD cannot be used. {error.sentence()}") from error
    except EmailTaken:
        return FirstAdministrator()  # another process started at the same time
    return FirstAdministrator(email, generated)
