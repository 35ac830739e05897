from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Mapped, mapped_column

from portico.kit.auth import LEEWAY as TOKEN_LEEWAY
from portico.kit.data import ExactText, Sequence
from portico.services.identity.models import Table

LEEWAY: Final = timedelta(seconds=TOKEN_LEEWAY)
"""How long after its expiry a token may still be taken for good, by a clock that is behind."""


class RevocationEntry(Table):
    """One end: of a session, a token, or a user's tokens issued before a moment.

    `position` is its place in the feed. It is given when the feed is read, since an entry that commits late would
    otherwise stand before the cursor of those who read the feed meanwhile.
    """

    __tablename__ = "revocations"

    number: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(ExactText(16))
    subject: Mapped[str] = mapped_column(ExactText(48), index=True)
    issued_before: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    position: Mapped[int | None] = mapped_column(Sequence, index=True)
