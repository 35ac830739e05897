"""Takes and reads holds in seating for a booking that is about to be made.

A refusal of seating becomes the same problem here, so that a caller sees what `POST …/holds` would have answered.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, NoReturn

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId, HoldSummary, SeatingClient
from portico.kit import Calls, Problem, TooManyRequests, UserId
from portico.kit.calls import Refused
from portico.services.bookings.errors import HOLD_PROBLEMS, HoldExpired, HoldInUse, HoldUsed

_BY_CODE: Final[Mapping[str, type[Problem]]] = {each.code: each for each in HOLD_PROBLEMS}
_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")
_TOO_MANY_REQUESTS: Final = 429
_IDENTIFIER_LENGTH: Final = 26
_TO_IDENTIFIER: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUV", "abcdefghjkmnpqrstvwxyz")


@dataclass(frozen=True, slots=True)
class WantedPlaces:
    """The places that a caller wants without a hold: a number of them, or chosen seats."""

    quantity: int | None
    section: str | None
    seats: tuple[str, ...] | None
    code: str | None


async def read_hold(calls: Calls, hold_id: HoldId, event_id: ShowId, *, user_id: UserId) -> HoldSummary:
    """Return an active hold of the user.

    Raises:
        HoldNotFound: the user has no such hold.
        HoldExpired, HoldInUse, HoldUsed: it is not active.
    """
    try:
        hold = await calls(SeatingClient).hold(hold_id, event_id, user_id=user_id)
    except Refused as refused:
        _raise_problem(refused)
    return _active(hold)


async def take_hold(
    calls: Calls,
    hold_id: HoldId,
    event_id: ShowId,
    *,
    user_id: UserId,
    wanted: WantedPlaces,
    admission: str | None,
) -> HoldSummary:
    """Take a hold for the user under an id that the caller chose. A repeat returns it while it is active.

    Raises:
        Problem: seating's refusal; nothing is held.
        HoldInUse, HoldUsed: an earlier request with this id has become a booking.
    """
    places = {
        "quantity": wanted.quantity,
        "section": wanted.section,
        "seats": None if wanted.seats is None else list(wanted.seats),
        "code": wanted.code,
    }
    try:
        hold = await calls(SeatingClient).take_hold(hold_id, event_id, user_id, **places, admission=admission)
        if hold.status in {"RELEASED", "EXPIRED"}:
            again = HoldId.new()
            hold = await calls(SeatingClient).take_hold(again, event_id, user_id, **places, admission=admission)
    except Refused as refused:
        _raise_problem(refused)
    return _active(hold)


def derived_hold_id(user_id: UserId, event_id: ShowId, wanted: WantedPlaces, key: str) -> HoldId:
    """Return the id of the hold that a user's request with this Idempotency-Key takes: the same one for its repeats."""
    digest = hashlib.sha256(f"{user_id}\n{event_id}\n{wanted}\n{key}".encode()).digest()
    text = base64.b32hexencode(digest).decode()[:_IDENTIFIER_LENGTH].translate(_TO_IDENTIFIER)
    return HoldId(f"{HoldId.prefix}_{text}")


def _active(hold: HoldSummary) -> HoldSummary:
    """Return the hold if it is active. Raises HoldExpired, HoldInUse, HoldUsed."""
    if hold.status == "CLAIMED":
        raise HoldInUse(hold_id=hold.hold_id)
    if hold.status == "SOLD":
        raise HoldUsed(hold_id=hold.hold_id, booking_id=BookingId(hold.booking_id or ""))
    if hold.status != "ACTIVE":
        raise HoldExpired(hold_id=hold.hold_id)
    return hold


def _raise_problem(refused: Refused) -> NoReturn:
    """Raise the problem of a refusal, with its members. They are in the case of the system."""
    if refused.status == _TOO_MANY_REQUESTS:
        raise TooManyRequests(retry_after=ceil(refused.retry_after or 1)) from refused
    kind: Any = _BY_CODE.get(refused.code or "")
    if kind is None:
        raise refused
    members = {_CAPITAL.sub("_", name).lower(): value for name, value in refused.problem.items()}
    raise kind(**{name: members.get(name) for name in kind.field_names()}) from refused
