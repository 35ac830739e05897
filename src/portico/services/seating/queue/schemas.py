from typing import Literal

from pydantic import Field

from portico.contracts.events import ShowId
from portico.contracts.seating import QueueId
from portico.kit import Moment, Schema


class QueueEntryRead(Schema):
    """The caller's place in the waiting room of a show."""

    queue_id: QueueId
    event_id: ShowId
    number: int = Field(description="Number of the place, from 1, in the order of arrival")
    position: int = Field(description="1 for who is admitted next; 0 for who is admitted")
    status: Literal["WAITING", "ADMITTED"]
    estimated_seconds: int = Field(description="Estimated time (seconds) until admission")
    joined_at: Moment
    admission_token: str | None = Field(description="Value of X-Admission-Token for holds, once admitted")
    admitted_until: Moment | None


class LedgerRead(Schema):
    """A record of the ledger: that the number joined, was admitted, or left before it was.

    `hash` is the SHA-256, in hexadecimal, of the hash before and the other members, one a line; "-" stands for null.
    """

    number: int
    joined_at: Moment
    admitted_at: Moment | None
    left_at: Moment | None
    hash: str
