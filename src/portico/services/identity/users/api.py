from typing import Annotated

from fastapi import Response

from portico.contracts.identity import UserId
from portico.kit import (
    Conditions,
    Context,
    Page,
    Principal,
    Reads,
    RequestClient,
    Router,
    SignedIn,
    Slice,
    Work,
    inject,
    permitted,
)
from portico.kit.foundation import PermissionMissing
from portico.services.identity.errors import (
    BeyondOwnRights,
    EmailInvalid,
    EmailTaken,
    HashingBusy,
    LastAdministrator,
    PasswordBreached,
    PasswordGuessable,
    PasswordTooLong,
    RoleTaken,
    RoleUnknown,
    UserDeleted,
    UserNotFound,
)
from portico.services.identity.users import service
from portico.services.identity.users.domain import Email
from portico.services.identity.users.models import Role, User
from portico.services.identity.users.passwords import PasswordHasher
from portico.services.identity.users.repository import Roles, Users
from portico.services.identity.users.schemas import (
    MeUpdate,
    RoleAssignment,
    RoleCreate,
    RoleRead,
    UserCreate,
    UserRead,
    UserUpdate,
)

accounts = Router(tags=["accounts"], description="The caller's own account")
users = Router(prefix="/users", tags=["users"], description="Accounts of all users, for administrators")
roles = Router(prefix="/roles", tags=["roles"], description="Named sets of permissions", supplementary=True)

Hasher = Annotated[PasswordHasher, inject(PasswordHasher)]
RoleEditor = Annotated[Principal, permitted("roles:write")]

_REGISTER_ERRORS = (EmailInvalid, EmailTaken, PasswordTooLong, PasswordGuessable, PasswordBreached, HashingBusy)


@accounts.post("/register", status_code=201, response_model=UserRead, rate="sign_in", errors=_REGISTER_ERRORS)
@accounts.post(
    "/auth/register",
    status_code=201,
    response_model=UserRead,
    rate="sign_in",
    errors=_REGISTER_ERRORS,
    framework={"include_in_schema": False},
)
async def register(
    body: UserCreate, hasher: Hasher, context: Context, work: Work, client: RequestClient, response: Response
) -> User:
    """Create an account."""
    email = Email.parse(body.email)
    password_hash = await hasher.hash(body.password)
    user = await service.register_user(
        work, email, body.names, password_hash=password_hash, role=context.system.default_role, client=client
    )
    response.headers["location"] = f"{context.system.prefix}/users/{user.user_id}"
    return user


@accounts.get("/auth/me", response_model=UserRead)
async def read_me(caller: SignedIn, reads: Reads) -> User:
    """Return the caller's own account."""
    return await Users(reads).get(caller.user_id)


@accounts.patch("/auth/me", response_model=UserRead)
async def change_me(
    body: MeUpdate, caller: SignedIn, work: Work, conditions: Conditions, client: RequestClient
) -> User:
    """Change the caller's names and phone number."""
    return await service.change_own_names(
        work, body.given_names(), precondition=conditions.require, caller=caller, client=client
    )


@users.get("", response_model=list[UserRead])
async def list_users(_caller: Annotated[Principal, permitted("users:read")], reads: Reads, page: Page) -> Slice[User]:
    """List all accounts, oldest first. A deleted account has no personal data."""
    return await Users(reads).page_with_roles(page)


@users.get("/{user_id}", response_model=UserRead, errors=[UserNotFound])
async def read_user(user_id: UserId, caller: SignedIn, reads: Reads) -> User:
    """Return one account: the caller's own, or any account with the permission `users:read`."""
    _require_own_or(caller, user_id, "users:read")
    return await Users(reads).get(user_id)


@users.patch(
    "/{user_id}", response_model=UserRead, errors=[UserNotFound, UserDeleted, LastAdministrator, BeyondOwnRights]
)
async def change_user(
    user_id: UserId, body: UserUpdate, caller: SignedIn, work: Work, conditions: Conditions, client: RequestClient
) -> User:
    """Change an account: the caller's own, or any with `users:write`. Deactivation signs the user out."""
    _require_own_or(caller, user_id, "users:write")
    if body.is_active is not None and not caller.may("users:write"):
        raise PermissionMissing(permission="users:write")
    return await service.change_user(
        work,
        user_id,
        body.given_names(),
        is_active=body.is_active,
        precondition=conditions.require,
        caller=caller,
        client=client,
    )


@users.delete("/{user_id}", status_code=204, errors=[UserNotFound, LastAdministrator, BeyondOwnRights])
async def delete_user(
    user_id: UserId, caller: SignedIn, work: Work, conditions: Conditions, client: RequestClient
) -> None:
    """Delete an account: the caller's own, or any with `users:write`. It is deactivated and anonymized."""
    _require_own_or(caller, user_id, "users:write")
    await service.delete_user(work, user_id, precondition=conditions.require, caller=caller, client=client)


@users.put(
    "/{user_id}/roles",
    response_model=UserRead,
    errors=[UserNotFound, RoleUnknown, BeyondOwnRights, LastAdministrator],
)
async def assign_roles(
    user_id: UserId,
    body: RoleAssignment,
    caller: RoleEditor,
    work: Work,
    conditions: Conditions,
    client: RequestClient,
) -> User:
    """Replace a user's roles. The user's access tokens are revoked; a refreshed one carries the new permissions."""
    return await service.assign_roles(
        work, user_id, body.roles, precondition=conditions.require, caller=caller, client=client
    )


@roles.get("", response_model=list[RoleRead])
async def list_roles(_caller: Annotated[Principal, permitted("roles:read")], reads: Reads, page: Page) -> Slice[Role]:
    """List the roles by name."""
    return await Roles(reads).page(page)


@roles.post("", status_code=201, response_model=RoleRead, errors=[RoleTaken, BeyondOwnRights])
async def create_role(body: RoleCreate, caller: RoleEditor, work: Work, client: RequestClient) -> Role:
    """Create a role: a named set of permissions. The caller must have each of them."""
    return await service.create_role(work, body.name, body.permissions, caller=caller, client=client)


def _require_own_or(caller: Principal, user_id: UserId, permission: str) -> None:
    if caller.subject != user_id and not caller.may(permission):
        raise PermissionMissing(permission=permission)
