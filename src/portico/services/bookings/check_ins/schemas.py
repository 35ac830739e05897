from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from portico.contracts.bookings import CheckInId, TicketId
from portico.contracts.events import ShowId
from portico.kit import Moment, OneLine, Schema
from portico.services.bookings.check_ins.models import GATE_LENGTH, REASON_LENGTH, SCAN_ID_LENGTH, CheckInStatus
from portico.services.bookings.tickets.models import RevocationReason

MAX_SCANS = 1000
_MAX_CODE_LENGTH = 1000  # what a gate reads may be anything; only 136 characters can be a ticket code

Code = Annotated[str, OneLine(_MAX_CODE_LENGTH), Field(examples=["AEAAAAQ5JVZJQ2GYUB2BJQ4D…"])]
Gate = Annotated[str, OneLine(GATE_LENGTH), Field(examples=["North 3"])]
ScanId = Annotated[
    str, StringConstraints(max_length=SCAN_ID_LENGTH, pattern=r"^[!-~]+$"), Field(examples=["north-3-000017"])
]


class CheckInCreate(Schema):
    """A scan of a ticket's code.

    event_id: the show that the gate admits to; a ticket of another is refused.
    scan_id: the scanner's name for the scan, unique in the show. A repeat with it gets the same answer.
    scanned_at: when an offline gate scanned it; now if omitted.
    """

    code: Code
    event_id: ShowId | None = None
    gate: Gate | None = None
    scan_id: ScanId | None = None
    scanned_at: Moment | None = None


class OfflineScan(CheckInCreate):
    """A scan of an offline gate, which must have an id."""

    scan_id: ScanId


class BatchCreate(Schema):
    """Scans of offline gates, each with an id of its own."""

    scans: Annotated[list[OfflineScan], Field(min_length=1, max_length=MAX_SCANS)]

    @model_validator(mode="after")
    def _each_scan_once(self) -> Self:
        if len({scan.scan_id for scan in self.scans}) < len(self.scans):
            raise ValueError("each scan_id may appear only once")
        return self


class CheckInRead(Schema):
    """A check-in. `status` is SUPERSEDED if an earlier scan of the ticket arrived later."""

    check_in_id: CheckInId
    ticket_id: TicketId
    event_id: ShowId
    section: str = Field(examples=["Stalls"])
    seat: str | None = Field(examples=["1-A-12"])
    holder_name: str | None = Field(examples=["Ada Lovelace"])
    gate: str | None = Field(examples=["North 3"])
    checked_in_at: Moment
    status: CheckInStatus
    undone_at: Moment | None
    undo_reason: str | None


class ScanResult(Schema):
    """The result of a scan: `status` is what a single check-in would answer, `code` that of its problem.

    For `already_checked_in`, `first_checked_in_at` and `gate` are those of the check-in that counts.
    """

    scan_id: str
    status: int = Field(examples=[201])
    code: str | None = Field(default=None, examples=["already_checked_in"])
    check_in_id: CheckInId | None = None
    ticket_id: TicketId | None = None
    first_checked_in_at: Moment | None = None
    gate: str | None = None


class BatchRead(Schema):
    """The result of each scan, in order."""

    results: list[ScanResult]


class UndoCreate(Schema):
    """Why a check-in is taken back."""

    reason: Annotated[str, OneLine(REASON_LENGTH)] = Field(examples=["Left and comes back later"])


class TicketKeyRead(Schema):
    """A public key of ticket codes (RFC 7517, RFC 8037). Codes name it by `number`."""

    number: int
    kty: str = Field(examples=["OKP"])
    crv: str = Field(examples=["Ed25519"])
    x: str
    kid: str
    alg: str = Field(examples=["EdDSA"])
    use: str = Field(examples=["sig"])


class RevokedCodeRead(Schema):
    """The serial of a code that is no longer valid."""

    serial: str = Field(examples=["0f1e2d3c4b5a69788796a5"])
    reason: RevocationReason
    revoked_at: Moment


class ManifestCheckIn(Schema):
    """A check-in as gates need it. An UNDONE one makes the code valid again, unless a later entry uses it."""

    serial: str = Field(examples=["0f1e2d3c4b5a69788796a5"])
    status: CheckInStatus
    gate: str | None = Field(examples=["North 3"])
    checked_in_at: Moment
    changed_at: Moment


class ManifestRead(Schema):
    """What a gate needs in order to work offline.

    `next_since` is `since` of the next request; entries near it are listed again. With `has_more`, send it at once.
    """

    event_id: ShowId
    keys: list[TicketKeyRead]
    revoked: list[RevokedCodeRead]
    check_ins: list[ManifestCheckIn]
    next_since: Moment
    has_more: bool
