"""What `portico users` and `portico keys` do to identity."""

from portico.cli.errors import CommandError
from portico.cli.identities import open_identity
from portico.contracts.identity import UserId
from portico.kit.foundation.problems import Problem
from portico.services.identity.errors import SharedSecretInUse
from portico.services.identity.tokens.key_ring import KeyRing
from portico.services.identity.tokens.models import StoredKey
from portico.services.identity.users.domain import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH
from portico.services.identity.users.first_administrator import FirstAdministrator, NewUser, create_account
from portico.services.identity.users.models import ADMINISTRATOR


async def create_user(
    system: str | None, email: str, password: str, *, name: str | None, roles: tuple[str, ...], admin: bool
) -> UserId | None:
    """Open an account; its user, or None where it became the first administrator. Raises CommandError, and see `open_identity`."""
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise CommandError(
            f"A password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters, and this one {len(password)}."
        )
    # Where there is no administrator yet, identity makes one as it opens: then it is this one.
    first = {"ADMIN_EMAIL": email, "ADMIN_PASSWORD": password} if admin else {}
    async with open_identity(system, first) as running:
        made = running.resource(FirstAdministrator)
        if admin and made.email == email:
            return None  # there was nobody yet, and identity made this one as it opened
        wanted = (ADMINISTRATOR, *roles) if admin else roles or _default_roles(running.system.default_role)
        try:
            return await create_account(running, NewUser(email, password, name, wanted))
        except Problem as problem:
            raise CommandError(problem.sentence()) from problem


def _default_roles(role: str | None) -> tuple[str, ...]:
    return () if role is None else (role,)


async def rotate(system: str | None, *, at_once: bool, withdraw: bool) -> StoredKey:
    """Publish a new signing key. Raises CommandError, and see `open_identity`."""
    async with open_identity(system) as running:
        try:
            return await running.resource(KeyRing).rotate(at_once=at_once, withdraw=withdraw)
        except SharedSecretInUse as error:
            raise CommandError(
                "With JWT_ALGORITHM=HS256 tokens are signed with JWT_SECRET, which does not rotate.",
                "Set another JWT_SECRET and start identity anew: everybody has to sign in again.",
            ) from error
