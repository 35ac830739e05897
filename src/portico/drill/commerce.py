"""The drill of commerce: customers order, staff fulfils."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from sqlalchemy import func, select

from portico.drill.checks import check_all
from portico.drill.customers import Customers, client_of
from portico.drill.databases import ORDERS, DrillDatabases, ShopDatabases
from portico.drill.scenario import Scenario
from portico.drill.setup import DrillSettings
from portico.kit.calls.channel import Channel
from portico.kit.data.engine import Database
from portico.kit.runtime.system import System
from portico.shop_client import ShopClient

CUSTOMERS = 12
PRODUCTS = 10

_CONCURRENT_ORDERS = 32


class CommerceScenario(Scenario):
    """Customers place orders, with every payment method, and cancel some. Staff ships some."""

    actions: ClassVar[str] = "orders"

    def __init__(self, drill: DrillSettings, concurrency: int | None = None) -> None:
        super().__init__(drill, concurrency)
        self._customers: Customers | None = None

    @property
    def customers(self) -> Customers:
        if self._customers is None:
            raise RuntimeError("the scenario is not set up")
        return self._customers

    @property
    def done(self) -> int:
        return len(self.customers.acknowledged)

    @property
    def errors(self) -> Sequence[str]:
        return self.customers.errors

    async def set_up(self, channel: Channel, variables: Mapping[str, str]) -> str:
        staff = await client_of(ShopClient, channel).sign_in(variables["ADMIN_EMAIL"], variables["ADMIN_PASSWORD"])
        self._customers = Customers(
            channel, self.drill.seed, staff, self.concurrency or _CONCURRENT_ORDERS, self.report_done
        )
        await self.customers.set_up(CUSTOMERS, PRODUCTS, self.drill.orders)
        return f"{CUSTOMERS} customers, {PRODUCTS} products; {self.drill.orders} orders"

    async def act(self) -> None:
        await self.customers.place_orders(self.drill.orders)

    def open(self, system: System, databases: Mapping[str, Database]) -> DrillDatabases:
        return ShopDatabases(system, databases)

    async def check(self, databases: DrillDatabases) -> Mapping[str, int]:
        if not isinstance(databases, ShopDatabases):
            raise TypeError("the databases of commerce are needed")
        await check_all(databases, self.customers.acknowledged)
        statuses = select(ORDERS.c.status, func.count().label("number")).group_by(ORDERS.c.status)
        return {row.status: row.number for row in await databases.rows("orders", statuses.order_by(ORDERS.c.status))}
