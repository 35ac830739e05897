"""The walkthrough of the ticketing system: a hall goes on sale, sells out, fills, and is reconciled."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from portico.demo.accounts import Account
from portico.demo.box_office import BoxOffice, Buyer, sections_for
from portico.demo.gates import Gates
from portico.demo.hall_picture import NAMES, counts_of, svg_picture, terminal_picture
from portico.demo.probes import check_system
from portico.demo.progress import run_beside, run_concurrently
from portico.demo.show_records import read_records
from portico.demo.supervised_system import SupervisedSystem
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed
from portico.ticketing_client import TicketingClient

SETTINGS: Final = {
    "HOLD_EXPIRES_IN": "30",
    "WAITING_ROOM_SHOPPERS": "50",
    "RATE_LIMIT_HOLDS": "1000000/minute",
    "MAX_CLIENT_SHARE": "1",
    "MAX_STREAMS": "20000",
    "IDENTITY_PASSWORD_PASSES": "1",
    "IDENTITY_PASSWORD_MEMORY_KIB": "1024",
}
"""Settings of the system that the demo starts.

Holds expire during the demo, and all buyers have the same address. Password hashes are cheap, because thousands of accounts sign up
for one demo.
"""

_CONCURRENT_SIGN_UPS: Final = 16
_CONCURRENT_BUYERS: Final = 400
_CONCURRENT_CANCELLATIONS: Final = 16
_WITHIN: Final = 120.0  # seconds
_POLL: Final = 0.5  # seconds


@dataclass
class LiveHall:
    """The seat map of a show, read again every second."""

    client: TicketingClient
    show_id: int
    seat_map: dict[str, Any] = field(default_factory=dict)

    async def read(self) -> dict[str, Any]:
        """Return the current map."""
        self.seat_map = await self.client.get(f"/api/inventory/{self.show_id}/seats")
        return self.seat_map

    def picture(self) -> RenderableType:
        """Return the hall with the number of seats in each state."""
        counts = ", ".join(f"{number} {NAMES[state]}" for state, number in counts_of(self.seat_map).items())
        return Group(Text(f"  {counts}"), terminal_picture(self.seat_map))

    async def refresh(self) -> None:
        """Read the map every second until cancelled. Raises ExpectationFailed, NoResponse."""
        while True:
            await asyncio.sleep(1)
            await self.read()


async def walk_ticketing(
    walk: Walk, *, buyers: int, staff: Account, own: SupervisedSystem | None, picture: Path
) -> None:
    """Walk through the ticketing system.

    Args:
        walk: to its gateway.
        buyers: the number of buyers.
        staff: an account with the permissions of an organizer.
        own: the system if the demo started it: its dead letters are listed.
        picture: the file for the picture of the sold hall, as SVG.

    Raises:
        ExpectationFailed: a response is not as promised.
    """
    suffix = secrets.token_hex(4)
    await check_system(walk, system="ticketing", path="/api/bookings")
    organizer = await walk.client_of(TicketingClient).sign_in(staff.email, staff.password)
    hall = LiveHall(organizer, await _create_show(walk, organizer, buyers, suffix))
    crowd = await _sign_up(walk, buyers, suffix)
    office = BoxOffice(walk, hall.show_id, crowd, suffix)
    await _sell(walk, office, hall)
    await _serve_waiting_list(walk, office)
    codes = await _codes(walk, crowd)
    await Gates(walk, hall.show_id, organizer).admit_all(codes)
    await _reconcile(walk, organizer, hall, codes, own)
    await asyncio.to_thread(picture.write_text, svg_picture(await hall.read(), "The hall after the sale"), "utf-8")
    walk.report(f"the hall is drawn in {picture}")


async def _create_show(walk: Walk, organizer: TicketingClient, buyers: int, suffix: str) -> int:
    sections = sections_for(buyers)
    seats = sum(each["rows"] * each["seatsPerRow"] for each in sections)
    walk.section(f"A hall of {seats} seats goes on sale")
    show = {
        "eventName": "The Demo",
        "eventDate": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
        "venueName": "Portico Hall",
        "totalSeats": seats,
        "sections": sections,
        "price": 35.0,
        "status": "ON_SALE",
        "waitingRoom": "ON",
    }
    created = await walk.call(
        "POST", "/api/events", json=show, token=organizer.token, headers={"idempotency-key": f"{suffix}-show"}
    )
    show_id = int(created.expect(HTTPStatus.CREATED, status="ON_SALE").json()["eventId"])

    async def has_seats() -> bool:
        response = await walk.call("GET", f"/api/inventory/{show_id}", quiet=True)
        return response.status == HTTPStatus.OK and response.json()["available"] == seats

    seconds = await walk.until(has_seats, within=_WITHIN, what=f"{seats} seats are available")
    walk.report(f"its seats exist {seconds:.1f} s later")
    return show_id


async def _sign_up(walk: Walk, number: int, suffix: str) -> list[Buyer]:
    walk.section(f"{number} buyers sign up")
    crowd = [Buyer(each, Account.new(f"buyer-{each}", suffix)) for each in range(number)]

    async def register(buyer: Buyer) -> None:
        account = buyer.account
        client = await walk.client_of(TicketingClient).register(account.email, account.password, account.name)
        account.token, account.user_id = client.token, client.user_id

    await run_concurrently(walk.console, "signed up", crowd, register, limit=_CONCURRENT_SIGN_UPS)
    walk.report(f"{number} buyers have a token")
    return crowd


async def _sell(walk: Walk, office: BoxOffice, hall: LiveHall) -> None:
    crowd = office.buyers
    walk.section(f"{len(crowd)} buyers arrive through the waiting room")
    await hall.read()
    async with run_beside(hall.refresh()), run_beside(office.watch()):
        await run_concurrently(walk.console, "done", crowd, office.shop, limit=_CONCURRENT_BUYERS, below=hall.picture)
    walk.report(f"outcomes: {_counted(office)}")
    if walk.retries:
        walk.report(f"{walk.retries} requests had no final response, and were repeated with the same key")


async def _serve_waiting_list(walk: Walk, office: BoxOffice) -> None:
    walk.section("Holds expire, some buyers cancel, and the waiting list gets their seats")
    leaving = [buyer for buyer in office.buyers if buyer.cancels and buyer.bookings]
    await run_concurrently(walk.console, "cancelled", leaving, office.cancel, limit=_CONCURRENT_CANCELLATIONS)
    waiting = [buyer for buyer in office.buyers if buyer.outcome == "on the waiting list"]

    async def is_served() -> bool:
        nonlocal waiting
        still = [await office.take_offer(buyer) for buyer in waiting]
        waiting = [buyer for buyer, waits in zip(waiting, still, strict=True) if waits]
        inventory = await walk.client().get(f"/api/inventory/{office.show_id}")
        return not waiting or not inventory["held"]

    await walk.until(is_served, within=_WITHIN, what="no seat is held", every=_POLL)
    await run_concurrently(walk.console, "left", waiting, office.leave, limit=_CONCURRENT_CANCELLATIONS)
    walk.report(f"outcomes: {_counted(office)}")


async def _codes(walk: Walk, crowd: Sequence[Buyer]) -> list[str]:
    """Return the codes of all live tickets."""
    codes: list[str] = []

    async def read(buyer: Buyer) -> None:
        client = walk.client_of(TicketingClient, buyer.account.token)
        tickets = await client.items("/api/tickets", "tickets")
        codes.extend(each["code"] for each in tickets if each["status"] == "VALID")

    await run_concurrently(walk.console, "tickets read", crowd, read, limit=_CONCURRENT_SIGN_UPS)
    return codes


async def _reconcile(
    walk: Walk, organizer: TicketingClient, hall: LiveHall, codes: Sequence[str], own: SupervisedSystem | None
) -> None:
    walk.section("Reconciliation")
    read = partial(read_records, organizer, hall.show_id, len(codes))
    records = await read()

    async def agree() -> bool:
        nonlocal records
        records = await read()
        return not records.mismatches()

    try:
        await walk.until(agree, within=_WITHIN, what="the records agree", every=_POLL)
    except ExpectationFailed as error:
        raise ExpectationFailed("The records do not agree:\n  " + "\n  ".join(records.mismatches()[:10])) from error
    finally:
        walk.console.print(records.table())
    if own is not None:
        walk.check(not await own.dead_letters(), "no event is a dead letter")


def _counted(office: BoxOffice) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in office.outcomes.most_common())
