"""The drill of ticketing: buyers compete for the places of a show."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from sqlalchemy import func, select

from portico.drill.buyers import Buyers
from portico.drill.customers import client_of
from portico.drill.databases import DrillDatabases
from portico.drill.scenario import Scenario
from portico.drill.setup import DrillSettings
from portico.drill.ticketing_checks import BOOKINGS, TicketingDatabases, check_all
from portico.kit.calls.channel import Channel
from portico.kit.data.engine import Database
from portico.kit.runtime.system import System
from portico.ticketing_client import TicketingClient

_CONCURRENT_BUYERS = 32


class TicketingScenario(Scenario):
    """Buyers queue, hold places, pay with every method, cancel some bookings, and wait for returned places."""

    actions: ClassVar[str] = "buyers"
    settings: ClassVar[Mapping[str, str]] = {
        "HOLD_EXPIRES_IN": "10",
        "HOLD_GRACE": "2",
        "WAITLIST_OFFER_EXPIRES_IN": "5",
        "WAITING_ROOM_SHOPPERS": "24",
        "BOOKING_DEADLINE": "60",
        "RATE_LIMIT_HOLDS": "1000000/minute",
    }

    def __init__(self, drill: DrillSettings, concurrency: int | None = None) -> None:
        super().__init__(drill, concurrency)
        self._buyers: Buyers | None = None

    @property
    def buyers(self) -> Buyers:
        if self._buyers is None:
            raise RuntimeError("the scenario is not set up")
        return self._buyers

    @property
    def done(self) -> int:
        return self.buyers.done

    @property
    def errors(self) -> Sequence[str]:
        return self.buyers.errors

    async def set_up(self, channel: Channel, variables: Mapping[str, str]) -> str:
        anonymous = client_of(TicketingClient, channel)
        staff = await anonymous.sign_in(variables["ADMIN_EMAIL"], variables["ADMIN_PASSWORD"])
        concurrency = self.concurrency or _CONCURRENT_BUYERS
        self._buyers = Buyers(channel, self.drill.seed, staff, concurrency, self.report_done)
        await self.buyers.set_up(self.drill.orders, self.drill.seats)
        return f"{self.drill.orders} buyers, {self.drill.seats} places"

    async def act(self) -> None:
        await self.buyers.buy(self.drill.orders)

    def open(self, system: System, databases: Mapping[str, Database]) -> DrillDatabases:
        return TicketingDatabases(system, databases)

    async def check(self, databases: DrillDatabases) -> Mapping[str, int]:
        await check_all(databases, self.buyers.acknowledged, self.buyers.waits)
        statuses = select(BOOKINGS.c.status, func.count().label("number")).group_by(BOOKINGS.c.status)
        rows = await databases.rows("bookings", statuses.order_by(BOOKINGS.c.status))
        return {row.status: row.number for row in rows}
