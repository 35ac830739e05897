from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from portico.contracts import identity as events
from portico.contracts.identity import SessionId, UserId
from portico.kit import ClientInfo, Principal, UnitOfWork
from portico.services.identity.errors import BeyondOwnRights, EmailTaken, LastAdministrator, RoleTaken, UserNotFound
from portico.services.identity.models import ADMINISTRATORS
from portico.services.identity.repository import audit, erase_devices, lock_singleton
from portico.services.identity.service import end_sessions, revoke_tokens_of_user
from portico.services.identity.users.domain import Email, Names
from portico.services.identity.users.models import Role, User, permissions_of
from portico.services.identity.users.repository import Roles, Users

Precondition = Callable[[User], None]
"""Raises PreconditionFailed if the locked user is not in the revision that the caller has seen."""


async def register_user(
    work: UnitOfWork, email: Email, names: Names, *, password_hash: str, role: str | None, client: ClientInfo
) -> User:
    """Create the caller's account with the default role. Raises EmailTaken."""
    user = await _create_account(work, email, names, password_hash, await Roles(work).get_all([role] if role else []))
    audit(work, "user.registered", actor=user.user_id, user_id=user.user_id, client=client)
    return user


async def create_user(
    work: UnitOfWork, email: Email, names: Names, *, password_hash: str, roles: Iterable[str], actor: str
) -> User:
    """Create an account with these roles. Raises EmailTaken, RoleUnknown."""
    user = await _create_account(work, email, names, password_hash, await Roles(work).get_all(roles))
    audit(work, "user.created", actor=actor, user_id=user.user_id, roles=user.roles)
    return user


async def change_own_names(
    work: UnitOfWork, names: dict[str, Any], *, precondition: Precondition, caller: Principal, client: ClientInfo
) -> User:
    """Change the caller's names. Raises UserNotFound."""
    user = await Users(work).get_undeleted(caller.user_id, lock=True)
    precondition(user)
    await _change(work, user, names, is_active=None, caller=caller, client=client)
    return user


async def change_user(
    work: UnitOfWork,
    user_id: UserId,
    names: dict[str, Any],
    *,
    is_active: bool | None,
    precondition: Precondition,
    caller: Principal,
    client: ClientInfo,
) -> User:
    """Change a user's names and whether the account is active. Deactivation ends the user's sessions.

    Raises:
        UserNotFound: the user does not exist.
        UserDeleted: the account was deleted.
        BeyondOwnRights: the user holds a permission that the caller does not have.
        LastAdministrator: no active user would hold every permission.
    """
    if is_active is False:
        await lock_singleton(work, ADMINISTRATORS)
    user = await Users(work).get(user_id, lock=True)
    precondition(user)
    _require_rights_over(user, caller)
    await _change(work, user, names, is_active=is_active, caller=caller, client=client)
    return user


async def change_password(
    work: UnitOfWork,
    user_id: UserId,
    password_hash: str,
    *,
    verified_hash: str,
    keep: SessionId | None,
    client: ClientInfo,
) -> None:
    """Set a new password and end all sessions except `keep`.

    `verified_hash` is the hash that the caller's password was checked against.

    Raises:
        UserNotFound: the user does not exist, or the password was changed after the check.
    """
    user = await Users(work).get_undeleted(user_id, lock=True)
    if user.password_hash != verified_hash:
        raise UserNotFound(user_id=user_id)
    user.change_password(password_hash, now=work.now)
    await end_sessions(work, user_id, keep=keep, actor=user_id, client=client)
    audit(work, "user.password_changed", actor=user_id, user_id=user_id, client=client)


async def delete_user(
    work: UnitOfWork, user_id: UserId, *, precondition: Precondition, caller: Principal, client: ClientInfo
) -> None:
    """Deactivate and anonymize an account.

    Raises:
        UserNotFound: the user does not exist or was deleted.
        BeyondOwnRights: the user holds a permission that the caller does not have.
        LastAdministrator: no active user would hold every permission.
    """
    await lock_singleton(work, ADMINISTRATORS)
    user = await Users(work).get_undeleted(user_id, lock=True)
    precondition(user)
    _require_rights_over(user, caller)
    await _deactivate(work, user, caller=caller, client=client)
    await erase_devices(work, user.user_id)
    user.anonymize(now=work.now)
    work.publish(events.UserDeleted(user_id=user.user_id))
    audit(work, "user.deleted", actor=caller.subject, user_id=user.user_id, client=client)


async def assign_roles(
    work: UnitOfWork,
    user_id: UserId,
    names: Iterable[str],
    *,
    precondition: Precondition,
    caller: Principal,
    client: ClientInfo,
) -> User:
    """Replace a user's roles and revoke the user's access tokens.

    Raises:
        UserNotFound: the user does not exist or was deleted.
        RoleUnknown: a role does not exist.
        BeyondOwnRights: a role that is added or removed grants a permission that the caller does not have.
        LastAdministrator: no active user would hold every permission.
    """
    await lock_singleton(work, ADMINISTRATORS)
    user = await Users(work).get_undeleted(user_id, lock=True)
    precondition(user)
    before, after = user.assigned_roles, await Roles(work).get_all(names)
    had, has = {role.name: role for role in before}, {role.name: role for role in after}
    _require_permissions(caller, [role for name, role in (had | has).items() if (name in had) != (name in has)])
    if had.keys() == has.keys():
        return user
    was_administrator = user.is_administrator
    user.assign_roles(after, now=work.now)
    await work.flush()
    if was_administrator:
        await _require_administrator(work)
    await _revoke_tokens(work, user)
    _publish_update(work, user)
    audit(
        work,
        "user.roles_changed",
        actor=caller.subject,
        user_id=user_id,
        client=client,
        before=sorted(had),
        after=sorted(has),
    )
    return user


async def create_role(
    work: UnitOfWork, name: str, permissions: Iterable[str], *, caller: Principal, client: ClientInfo
) -> Role:
    """Create a role. Raises RoleTaken, and BeyondOwnRights for a permission that the caller does not have."""
    role = Role(name=name, permissions=sorted(set(permissions)), declared=False, created_at=work.now)
    _require_permissions(caller, [role])
    await work.insert(role, duplicate=RoleTaken(name=name))
    audit(work, "role.created", actor=caller.subject, client=client, role=name, permissions=role.permissions)
    return role


async def _create_account(work: UnitOfWork, email: Email, names: Names, password_hash: str, roles: list[Role]) -> User:
    user = User.create(email, names, password_hash=password_hash, roles=roles, now=work.now)
    await work.insert(user, duplicate=EmailTaken())
    work.publish(events.UserCreated(user_id=user.user_id, email=email.address, name=user.display_name))
    return user


async def _change(
    work: UnitOfWork,
    user: User,
    names: dict[str, Any],
    *,
    is_active: bool | None,
    caller: Principal,
    client: ClientInfo,
) -> None:
    active = user.is_active if is_active is None else is_active
    if user.is_active and not active:
        await _deactivate(work, user, caller=caller, client=client)
    user.change(user.names.changed(names), is_active=active, now=work.now)
    _publish_update(work, user)
    changed = sorted([*names, *(["is_active"] if is_active is not None else [])])
    audit(work, "user.updated", actor=caller.subject, user_id=user.user_id, client=client, changed=changed)


def _require_rights_over(user: User, caller: Principal) -> None:
    """Raise BeyondOwnRights if another user holds a permission that the caller does not have."""
    if caller.subject != user.user_id:
        _require_permissions(caller, user.assigned_roles)


def _require_permissions(caller: Principal, roles: list[Role]) -> None:
    for permission in permissions_of(roles):
        if not caller.may(permission):
            raise BeyondOwnRights(permission=permission)


def _publish_update(work: UnitOfWork, user: User) -> None:
    work.publish(
        events.UserUpdated(
            user_id=user.user_id, email=user.email or "", name=user.display_name, is_active=user.is_active
        )
    )


async def _deactivate(work: UnitOfWork, user: User, *, caller: Principal, client: ClientInfo) -> None:
    """Deactivate the user, and end tokens and sessions. Raises LastAdministrator."""
    was_administrator = user.is_administrator
    user.is_active = False
    if was_administrator:
        await work.flush()
        await _require_administrator(work)
    await _revoke_tokens(work, user)
    await end_sessions(work, user.user_id, actor=caller.subject, client=client)


async def _revoke_tokens(work: UnitOfWork, user: User) -> None:
    """Revoke the access tokens of a locked user. Sessions stay open: a refresh issues a token with current rights."""
    # Read the clock again: waiting for the lock on the user may have taken long, and a token that was issued
    # meanwhile still carries the old rights.
    moment = work.clock.now().replace(microsecond=0) + timedelta(seconds=1)
    user.revoke_tokens_before(moment)
    await revoke_tokens_of_user(work, user.user_id, issued_before=moment)


async def _require_administrator(work: UnitOfWork) -> None:
    # Counted while the singleton row is locked, so that two administrators cannot remove each other at the same time.
    if await Users(work).count_administrators() == 0:
        raise LastAdministrator
