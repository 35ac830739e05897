from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, select

from portico.kit.auth.principal import UserId
from portico.kit.data import Reader
from portico.services.notifications.recipients.models import Recipient

_R: Any = Recipient.__table__.c
_KNOWN = select(_R.user_id).where(
    _R.user_id == bindparam("user_id"), _R.email.is_not(None) | _R.deleted_at.is_not(None)
)
_HELD = (
    select(Recipient)
    .where(Recipient.user_id.in_(bindparam("user_ids", expanding=True)))
    .order_by(Recipient.user_id)
    .with_for_update(read=True)
)
"""Both built once: that costs more than to run one."""


class Recipients:
    """The SQL of recipients."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def is_known(self, user_id: UserId) -> bool:
        """Whether it is known how the user is reached, or that it no longer is."""
        return bool(await self.source.rows(_KNOWN, {"user_id": user_id}))

    async def held(self, user_ids: Iterable[UserId]) -> dict[UserId, Recipient]:
        """Those of `user_ids` that there are; none of them changes or is forgotten until the transaction ends."""
        found = await self.source.execute(_HELD, {"user_ids": list(set(user_ids))})
        return {row.user_id: row for row in found.scalars()}
