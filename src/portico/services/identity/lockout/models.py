from datetime import datetime, timedelta

from sqlalchemy.orm import Mapped, mapped_column

from portico.kit.data import ExactText, Payload
from portico.services.identity.lockout.domain import LOCKED_FOR, recent
from portico.services.identity.models import Table


class Throttle(Table):
    """The failures of one account or one client address.

    `key` is a digest of the address that was typed, whether or not there is such an account: a lock tells nothing.
    """

    __tablename__ = "sign_in_throttles"

    key: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    failures: Mapped[list[float]] = mapped_column(Payload)
    locked_until: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(index=True)

    def wait(self, now: datetime) -> timedelta | None:
        """How long nobody may try; None where somebody may."""
        return self.locked_until - now if self.locked_until is not None and self.locked_until > now else None

    def fail(self, now: datetime, *, most: int) -> bool:
        """Count a failure; whether it was the one that locks. While locked nothing counts."""
        if self.wait(now) is not None:
            return False
        failures = [*recent(self.failures, now), now.timestamp()]
        self.changed_at = now
        if len(failures) < most:
            self.failures = failures
            return False
        self.failures = []
        self.locked_until = now + LOCKED_FOR
        return True
