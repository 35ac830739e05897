from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import selectinload

from portico.contracts.identity import UserId
from portico.kit import Keyset, Repository, Slice, UnitOfWork, Window
from portico.kit.auth import EVERYTHING
from portico.services.identity.errors import RoleUnknown, UserNotFound
from portico.services.identity.users.models import ADMINISTRATOR, Membership, Role, User

_MAX_LISTED: Final = 50  # roles in an error message
_SELECT_WITH_ROLES: Final[Select[Any]] = select(User).options(selectinload(User.assigned_roles))
_SELECT_BY_ID: Final = _SELECT_WITH_ROLES.where(User.user_id == bindparam("key"))


class Users(Repository[User]):
    """Accounts, loaded with their roles."""

    model, not_found, order = User, UserNotFound, Keyset.by("age", User.user_id)

    async def find(self, key: Any, *, lock: bool = False) -> User | None:
        """Return the user, also a deleted one, or None. `lock` holds the row until the transaction ends."""
        if not lock:
            found = await self.source.execute(_SELECT_BY_ID, {"key": key})
            return cast("User | None", found.scalars().one_or_none())
        locking = _SELECT_WITH_ROLES.where(User.user_id == key).with_for_update()
        return await self.work.one(locking.execution_options(populate_existing=True))

    async def find_by_email(self, email_key: str | None) -> User | None:
        """Return the user whose email address has this key, without the roles."""
        if email_key is None:
            return None
        return await self.source.one(select(User).where(User.email_key == email_key))

    async def get_undeleted(self, user_id: UserId, *, lock: bool = False) -> User:
        """Return the user. Raises UserNotFound, also for a deleted user."""
        user = await self.get(user_id, lock=lock)
        if user.deleted_at is not None:
            raise UserNotFound(user_id=user_id)
        return user

    async def page_with_roles(self, window: Window) -> Slice[User]:
        """Return all users, oldest first."""
        return await self.order.page(self.source, _SELECT_WITH_ROLES, window)

    async def count_administrators(self) -> int:
        """Return the number of active users who hold every permission."""
        everything = [role.name for role in await self.source.all(select(Role)) if role.grants_everything]
        statement: Select[int] = (
            select(func.count(func.distinct(Membership.user_id)))
            .join(User, User.user_id == Membership.user_id)
            .where(Membership.role.in_(everything), User.is_active)
        )
        return int((await self.source.execute(statement)).scalar_one())


class Roles(Repository[Role]):
    """Roles and their permissions, by name."""

    model, order = Role, Keyset.by("name", Role.name)

    async def get_all(self, names: Iterable[str]) -> list[Role]:
        """Return the roles with these names, in order. Raises RoleUnknown."""
        wanted = sorted(set(names))
        found = {role.name: role for role in await self.source.all(select(Role).where(Role.name.in_(wanted)))}
        for name in wanted:
            if name not in found:
                raise RoleUnknown(name=name, existing=await self._names())
        return [found[name] for name in wanted]

    async def _names(self) -> list[str]:
        """Return the names of the first roles, in alphabetical order."""
        return list(await self.source.all(select(Role.name).order_by(Role.name).limit(_MAX_LISTED)))


async def declare_roles(work: UnitOfWork, declared: Mapping[str, Iterable[str]]) -> None:
    """Insert or update the system's roles and the administrator role. The caller holds the singleton row's lock."""
    wanted = {ADMINISTRATOR: [EVERYTHING]} | {name: sorted(set(granted)) for name, granted in declared.items()}
    known = {role.name: role for role in await work.all(select(Role).where(Role.name.in_(wanted)))}
    for name, permissions in wanted.items():
        role = known.get(name)
        if role is None:
            work.add(Role(name=name, permissions=permissions, declared=True, created_at=work.now))
        elif role.permissions != permissions:
            role.permissions = permissions
            role.declared = True
    await work.flush()
