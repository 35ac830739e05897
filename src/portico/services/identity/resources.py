"""What identity needs before its first request: the system's roles, and somebody who may do everything."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from portico.kit import ServiceContext
from portico.kit.settings import SettingsError
from portico.services.identity.commands import NewUser, create_account
from portico.services.identity.models import ADMINISTRATORS
from portico.services.identity.passwords.domain import LONGEST, SHORTEST
from portico.services.identity.repository import hold
from portico.services.identity.roles.commands import declare_roles
from portico.services.identity.roles.models import ADMINISTRATOR
from portico.services.identity.roles.repository import Roles
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.users.errors import EmailInvalid, EmailTaken

EMBEDDED_ADMINISTRATOR: Final = "admin@example.com"
_PASSWORD_BYTES: Final = 15  # twenty letters


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """The administrator that this start made, for whoever started it to be told once; none as a rule.

    `password` is set where it was made up here; it is kept nowhere.
    """

    email: str | None = None
    password: str | None = None


@asynccontextmanager
async def open_identity(context: ServiceContext) -> AsyncIterator[FirstAdministrator]:
    """Declare the system's roles and make the first administrator where there is none. Raises SettingsError."""
    async with context.transaction() as work:
        await hold(work, ADMINISTRATORS)
        await declare_roles(work, context.system.roles)
        missing = await Roles(work).administrators() == 0
    yield await _make_administrator(context) if missing else FirstAdministrator()


async def _make_administrator(context: ServiceContext) -> FirstAdministrator:
    settings = context.settings_of(IdentitySettings)
    if settings.admin_email is not None and settings.admin_password is not None:
        password, made_up = settings.admin_password.get_secret_value(), None
        if not SHORTEST <= len(password) <= LONGEST:
            raise SettingsError(f"ADMIN_PASSWORD has {SHORTEST} to {LONGEST} characters")
    elif context.secrets.generated:
        password = made_up = secrets.token_urlsafe(_PASSWORD_BYTES)
    else:
        return FirstAdministrator()  # `portico users create --admin` makes one
    email = settings.admin_email or EMBEDDED_ADMINISTRATOR
    try:
        await create_account(context, NewUser(email, password, "Administrator", (ADMINISTRATOR,)), actor="first start")
    except EmailInvalid as error:
        raise SettingsError(f"ADMIN_EMAIL is not a usable email address: {error.reason}") from error
    except EmailTaken:
        return FirstAdministrator()  # another process started at the same moment
    return FirstAdministrator(email, made_up)
