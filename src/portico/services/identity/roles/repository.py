from collections.abc import Iterable, Sequence
from typing import ClassVar

from sqlalchemy import Select, delete, func, select

from portico.kit import Keyset, Reader, Slice, UnitOfWork, UserId, Window
from portico.services.identity.roles.errors import RoleUnknown
from portico.services.identity.roles.models import Role
from portico.services.identity.users.models import Membership, User


class Roles:
    """The roles there are, and who has which."""

    by_name: ClassVar[Keyset] = Keyset.by("name", Role.name)

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def page(self, window: Window) -> Slice[Role]:
        """Roles by name."""
        return await self.by_name.page(self.source, select(Role), window)

    async def named(self, names: Iterable[str]) -> Sequence[Role]:
        """The roles of these names. Raises RoleUnknown."""
        wanted = sorted(set(names))
        found = {role.name: role for role in await self.source.all(select(Role).where(Role.name.in_(wanted)))}
        for name in wanted:
            if name not in found:
                raise RoleUnknown(name=name)
        return [found[name] for name in wanted]

    async def of_user(self, user_id: UserId) -> Sequence[Role]:
        """The roles that a user has, by name."""
        return await self.source.all(
            select(Role)
            .join(Membership, Membership.role == Role.name)
            .where(Membership.user_id == user_id)
            .order_by(Role.name)
        )

    async def names_by_user(self, user_ids: Sequence[UserId]) -> dict[UserId, list[str]]:
        """The names of the roles of each of these users."""
        memberships: Select[Membership] = select(Membership).where(Membership.user_id.in_(user_ids))
        found: dict[UserId, list[str]] = {user_id: [] for user_id in user_ids}
        for membership in await self.source.all(memberships.order_by(Membership.role)):
            found[membership.user_id].append(membership.role)
        return found

    async def administrators(self) -> int:
        """How many users hold every permission and may sign in."""
        everything = [role.name for role in await self.source.all(select(Role)) if role.grants_everything]
        statement: Select[int] = (
            select(func.count(func.distinct(Membership.user_id)))
            .join(User, User.user_id == Membership.user_id)
            .where(Membership.role.in_(everything), User.is_active)
        )
        return int((await self.source.execute(statement)).scalar_one())


async def give_roles(work: UnitOfWork, user_id: UserId, names: Iterable[str]) -> None:
    """Let the user have exactly these roles."""
    await work.execute(delete(Membership).where(Membership.user_id == user_id))
    work.add_all(Membership(user_id=user_id, role=name) for name in sorted(set(names)))
    await work.flush()
