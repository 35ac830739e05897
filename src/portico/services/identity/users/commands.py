from collections.abc import Iterable, Sequence
from typing import Any

from portico.contracts import identity as events
from portico.contracts.identity import SessionId, UserId
from portico.kit import ClientInfo, Principal, UnitOfWork
from portico.services.identity.audit.commands import record
from portico.services.identity.models import ADMINISTRATORS
from portico.services.identity.repository import hold
from portico.services.identity.roles.domain import permissions_of
from portico.services.identity.roles.models import Role
from portico.services.identity.roles.repository import Roles, give_roles
from portico.services.identity.sessions.commands import end_sessions, end_tokens, forget_devices
from portico.services.identity.users.domain import Email, Names
from portico.services.identity.users.errors import BeyondOwnRights, EmailTaken, LastAdministrator, UserNotFound
from portico.services.identity.users.models import User
from portico.services.identity.users.repository import Users


async def register(
    work: UnitOfWork, email: Email, names: Names, *, password_hash: str, role: str | None, device: ClientInfo
) -> User:
    """Open an account for whoever asks, with the role that new users get. Raises EmailTaken."""
    user = await _open_account(work, email, names, password_hash, [role] if role else [])
    record(work, "user.registered", actor=user.user_id, user_id=user.user_id, device=device)
    return user


async def create_user(
    work: UnitOfWork, email: Email, names: Names, *, password_hash: str, roles: Iterable[str], actor: str
) -> User:
    """Open an account with these roles. Raises EmailTaken, RoleUnknown."""
    wanted = [role.name for role in await Roles(work).named(roles)]
    user = await _open_account(work, email, names, password_hash, wanted)
    record(work, "user.created", actor=actor, user_id=user.user_id, roles=wanted)
    return user


async def change_user(
    work: UnitOfWork,
    user: User,
    *,
    names: dict[str, Any],
    is_active: bool | None,
    caller: Principal,
    device: ClientInfo,
) -> None:
    """Change what a locked `user` is called and whether it may sign in. Raises UserDeleted, LastAdministrator."""
    active = user.is_active if is_active is None else is_active
    if user.is_active and not active:
        await _deactivate(work, user, caller=caller, device=device)
    user.change(user.names.changed(names), is_active=active, now=work.now)
    _tell_of_change(work, user)
    changed = sorted([*names, *(["is_active"] if is_active is not None else [])])
    record(work, "user.updated", actor=caller.subject, user_id=user.user_id, device=device, changed=changed)


async def change_password(
    work: UnitOfWork,
    user_id: UserId,
    password_hash: str,
    *,
    known_hash: str,
    keep: SessionId | None,
    device: ClientInfo,
) -> None:
    """Give the user a new password and end all sessions but the one to `keep`. Raises UserNotFound.

    `known_hash` is the one that the caller proved to know: a password changed meanwhile stands.
    """
    user = await Users(work).get_living(user_id, lock=True)
    if user.password_hash != known_hash:
        raise UserNotFound(user_id=user_id)
    user.password_hash = password_hash
    user.updated_at = work.now
    await end_sessions(work, user_id, keep=keep, actor=user_id, device=device)
    record(work, "user.password_changed", actor=user_id, user_id=user_id, device=device)


async def delete_user(work: UnitOfWork, user: User, *, caller: Principal, device: ClientInfo) -> None:
    """Deactivate a locked `user` and forget who it was. Raises LastAdministrator."""
    await _deactivate(work, user, caller=caller, device=device)
    await forget_devices(work, user.user_id)
    await give_roles(work, user.user_id, [])
    user.delete(now=work.now)
    work.publish(events.UserDeleted(user_id=user.user_id))
    record(work, "user.deleted", actor=caller.subject, user_id=user.user_id, device=device)


async def assign_roles(
    work: UnitOfWork, user_id: UserId, names: Iterable[str], *, caller: Principal, device: ClientInfo
) -> Sequence[Role]:
    """Let the user have exactly these roles; its access tokens end. Whoever assigns must hold what they grant.

    Raises:
        UserNotFound: there is no such user.
        RoleUnknown: there is no such role.
        BeyondOwnRights: a role given or taken away grants what the caller has not.
        LastAdministrator: nobody would hold every permission any more.
    """
    await hold(work, ADMINISTRATORS)
    user = await Users(work).get_living(user_id, lock=True)
    before = await Roles(work).of_user(user_id)
    after = await Roles(work).named(names)
    had, has = {role.name: role for role in before}, {role.name: role for role in after}
    ensure_covered(caller, [role for name, role in (had | has).items() if (name in had) != (name in has)])
    if had.keys() == has.keys():
        return after
    await give_roles(work, user_id, has)
    if user.is_active and any(role.grants_everything for role in before):
        await _ensure_administrator(work)
    await end_tokens(work, user)
    user.updated_at = work.now
    _tell_of_change(work, user)
    record(
        work,
        "user.roles_changed",
        actor=caller.subject,
        user_id=user_id,
        device=device,
        before=sorted(had),
        after=sorted(has),
    )
    return after


def ensure_covered(caller: Principal, roles: Iterable[Role]) -> None:
    """Raises BeyondOwnRights where one of `roles` grants what the caller does not hold."""
    for permission in permissions_of(roles):
        if not caller.may(permission):
            raise BeyondOwnRights(permission=permission)


async def _open_account(work: UnitOfWork, email: Email, names: Names, password_hash: str, roles: Iterable[str]) -> User:
    user = User.opened(email, names, password_hash=password_hash, now=work.now)
    await work.insert(user, taken=EmailTaken())
    await give_roles(work, user.user_id, roles)
    work.publish(events.UserCreated(user_id=user.user_id, email=email.address, name=user.called))
    return user


def _tell_of_change(work: UnitOfWork, user: User) -> None:
    """Publish how a living user is called and whether it may sign in."""
    work.publish(
        events.UserUpdated(user_id=user.user_id, email=user.email or "", name=user.called, is_active=user.is_active)
    )


async def _deactivate(work: UnitOfWork, user: User, *, caller: Principal, device: ClientInfo) -> None:
    """End what lets the user in. Raises LastAdministrator."""
    roles = await Roles(work).of_user(user.user_id)
    if user.is_active and any(role.grants_everything for role in roles):
        user.is_active = False
        await work.flush()
        await _ensure_administrator(work)
    user.is_active = False
    await end_tokens(work, user)
    await end_sessions(work, user.user_id, actor=caller.subject, device=device)


async def _ensure_administrator(work: UnitOfWork) -> None:
    # Counted with the latch held: two administrators who remove each other at once can't both be the last but one.
    if await Roles(work).administrators() == 0:
        raise LastAdministrator
