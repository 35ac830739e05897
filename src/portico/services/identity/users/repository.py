from sqlalchemy import select

from portico.contracts.identity import UserId
from portico.kit import Keyset, Repository
from portico.services.identity.users.errors import UserNotFound
from portico.services.identity.users.models import User


class Users(Repository[User]):
    model, not_found, order = User, UserNotFound, Keyset.by("age", User.user_id)

    async def find_by_key(self, email_key: str | None) -> User | None:
        """The user whose email has this key."""
        if email_key is None:
            return None
        return await self.source.one(select(User).where(User.email_key == email_key))

    async def get_living(self, user_id: UserId, *, lock: bool = False) -> User:
        """The user, unless it was deleted. Raises UserNotFound."""
        user = await self.get(user_id, lock=lock)
        if user.deleted_at is not None:
            raise UserNotFound(user_id=user_id)
        return user
