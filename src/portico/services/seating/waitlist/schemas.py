from typing import Annotated

from pydantic import Field

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId, WaitlistEntryId
from portico.kit import Moment, Schema, UserId
from portico.services.seating.waitlist.models import WaitlistStatus

_MAX_PLACES = 1_000


class WaitlistEntryCreate(Schema):
    """The number of places that the caller waits for."""

    quantity: Annotated[int, Field(ge=1, le=_MAX_PLACES, examples=[2])] = 1


class WaitlistEntryRead(Schema):
    """A party in the waiting list. While it is OFFERED, `hold_id` is a hold of its user until `expires_at`."""

    entry_id: WaitlistEntryId
    event_id: ShowId
    user_id: UserId
    quantity: int = Field(examples=[2])
    position: int | None = Field(description="1 for the oldest of those who wait; null if the party does not wait")
    status: WaitlistStatus
    hold_id: HoldId | None
    expires_at: Moment | None
    joined_at: Moment
