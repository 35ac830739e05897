from typing import Annotated

from portico.contracts.identity import UserId
from portico.kit import Conditions, Page, Principal, Reads, RequestClient, Router, SignedIn, Work, permitted
from portico.kit.foundation import PermissionMissing
from portico.services.identity.models import ADMINISTRATORS
from portico.services.identity.repository import hold
from portico.services.identity.roles.errors import RoleUnknown
from portico.services.identity.roles.repository import Roles
from portico.services.identity.users import commands
from portico.services.identity.users.errors import BeyondOwnRights, LastAdministrator, UserDeleted, UserNotFound
from portico.services.identity.users.repository import Users
from portico.services.identity.users.schemas import RoleAssignment, UserRead, UserUpdate

router = Router(prefix="/users", tags=["users"])


@router.get("")
async def list_users(
    _caller: Annotated[Principal, permitted("users:read")], reads: Reads, page: Page
) -> list[UserRead]:
    """All accounts, oldest first; deleted ones say only that they were."""
    found = await Users(reads).page(page.window)
    roles = await Roles(reads).names_by_user([user.user_id for user in found.rows])
    page.set_headers(found)
    return [UserRead.with_roles(user, roles[user.user_id]) for user in found.rows]


@router.get("/{user_id}", errors=[UserNotFound])
async def read_user(user_id: UserId, caller: SignedIn, reads: Reads, conditions: Conditions) -> UserRead:
    """One account: the caller's own, or anyone's for who may read users."""
    _ensure_own_or(caller, user_id, "users:read")
    user = await Users(reads).get(user_id)
    conditions.tag(user)
    return UserRead.with_roles(user, (await Roles(reads).names_by_user([user_id]))[user_id])


@router.patch("/{user_id}", errors=[UserNotFound, UserDeleted, LastAdministrator, BeyondOwnRights])
async def change_user(
    user_id: UserId, change: UserUpdate, caller: SignedIn, work: Work, conditions: Conditions, device: RequestClient
) -> UserRead:
    """Change an account: the caller's own, or anyone's for who may write users. A deactivated user is signed out."""
    _ensure_own_or(caller, user_id, "users:write")
    if change.is_active is not None and not caller.may("users:write"):
        raise PermissionMissing(permission="users:write")
    if change.is_active is False:
        await hold(work, ADMINISTRATORS)
    user = await Users(work).get(user_id, lock=True)
    conditions.require(user)
    roles = await Roles(work).of_user(user_id)
    if caller.subject != user_id:
        commands.ensure_covered(caller, roles)
    await commands.change_user(
        work, user, names=change.given_names(), is_active=change.is_active, caller=caller, device=device
    )
    conditions.tag(user)
    return UserRead.with_roles(user, [role.name for role in roles])


@router.delete("/{user_id}", status_code=204, errors=[UserNotFound, LastAdministrator, BeyondOwnRights])
async def delete_user(
    user_id: UserId, caller: SignedIn, work: Work, conditions: Conditions, device: RequestClient
) -> None:
    """Deactivate an account for good and forget who it was: the caller's own, or anyone's for who may write users."""
    _ensure_own_or(caller, user_id, "users:write")
    await hold(work, ADMINISTRATORS)
    user = await Users(work).get_living(user_id, lock=True)
    conditions.require(user)
    if caller.subject != user_id:
        commands.ensure_covered(caller, await Roles(work).of_user(user_id))
    await commands.delete_user(work, user, caller=caller, device=device)


@router.put("/{user_id}/roles", errors=[UserNotFound, RoleUnknown, BeyondOwnRights, LastAdministrator])
async def assign_roles(
    user_id: UserId,
    assignment: RoleAssignment,
    caller: Annotated[Principal, permitted("roles:write")],
    work: Work,
    device: RequestClient,
) -> UserRead:
    """Let a user have exactly these roles. Its access tokens end; a refreshed one carries the new permissions."""
    roles = await commands.assign_roles(work, user_id, assignment.roles, caller=caller, device=device)
    user = await Users(work).get(user_id)
    return UserRead.with_roles(user, [role.name for role in roles])


def _ensure_own_or(caller: Principal, user_id: UserId, permission: str) -> None:
    if caller.subject != user_id and not caller.may(permission):
        raise PermissionMissing(permission=permission)
