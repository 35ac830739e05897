from dataclasses import dataclass

from portico.contracts.identity import UserId
from portico.kit import ServiceContext
from portico.services.identity.keys.commands import rotate_keys
from portico.services.identity.keys.errors import SharedSecretInUse
from portico.services.identity.keys.models import StoredKey
from portico.services.identity.keys.resources import KeyRing
from portico.services.identity.passwords.resources import PasswordHasher
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.users.commands import create_user
from portico.services.identity.users.domain import Email, Names


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account that an operator opens from the command line."""

    email: str
    password: str
    name: str | None = None
    roles: tuple[str, ...] = ()


async def create_account(context: ServiceContext, new: NewUser, *, actor: str = "operator") -> UserId:
    """Open an account from the command line. Raises EmailInvalid, EmailTaken, RoleUnknown, HashingBusy."""
    email = Email.parse(new.email)
    password_hash = await context.resource(PasswordHasher).hash(new.password)
    async with context.transaction() as work:
        names = Names(name=new.name)
        user = await create_user(work, email, names, password_hash=password_hash, roles=new.roles, actor=actor)
    return user.user_id


async def rotate_signing_key(context: ServiceContext, *, at_once: bool = False, withdraw: bool = False) -> StoredKey:
    """Have a new signing key, of the algorithm that is set; see `rotate_keys`. Raises SharedSecretInUse."""
    algorithm = context.settings_of(IdentitySettings).jwt_algorithm
    if algorithm == "HS256":
        raise SharedSecretInUse
    ring = context.resource(KeyRing)
    stored = await rotate_keys(context, ring.sealer, algorithm, at_once=at_once, withdraw=withdraw)
    ring.forget()
    return stored
