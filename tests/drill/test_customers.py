"""The drill's customers wait for an order as long as any order progresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from portico.drill.customers import Customers, Watchdog
from portico.gateway_client import NoResponse, Response
from portico.kit.calls.local import LocalChannel
from portico.shop_client import ShopClient

LIMIT = 120.0  # seconds


@dataclass
class SlowShop:
    """A gateway at which a poll of an order takes 100 seconds of the watchdog's time.

    Args:
        statuses: of the order at each poll; the last one stays.
    """

    statuses: Sequence[str]
    now: float = 0.0
    sent: list[str] = field(default_factory=list)

    async def send(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Response:
        if method == "GET":
            self.now += 100.0
            status = self.statuses[min(len(self.sent), len(self.statuses) - 1)]
        else:
            status = "shipped"
        self.sent.append(method)
        return Response(f"{method} {path}", 200, {}, f'{{"status": "{status}"}}'.encode())

    def customers(self) -> Customers:
        watchdog = Watchdog(LIMIT, lambda: self.now)
        return Customers(LocalChannel({}), 1, ShopClient(self), watchdog=watchdog)


class TestAnOrder:
    async def test_is_fulfilled_however_long_it_takes_if_it_progresses(self) -> None:
        shop = SlowShop(["pending", "reserved", "paid", "confirmed"])

        await shop.customers()._fulfil("ord_1", "key", ("ship",))

        assert shop.sent == ["GET"] * 4 + ["POST"]

    async def test_that_stays_as_it_is_while_no_order_progresses_is_an_error(self) -> None:
        shop = SlowShop(["reserved"])

        with pytest.raises(NoResponse, match="ord_1 is still reserved, and no order progressed for 120 s"):
            await shop.customers()._fulfil("ord_1", "key", ())

    async def test_is_waited_for_while_other_orders_progress(self) -> None:
        shop = SlowShop(["reserved"] * 5 + ["confirmed"])
        customers = shop.customers()
        send = shop.send

        class Others(SlowShop):
            async def send(self, *request: object) -> Response:
                customers.watchdog.reset()  # an order of another customer
                return await send(*request)  # type: ignore[arg-type]  # passed on

        customers.staff = ShopClient(Others([]))

        await customers._fulfil("ord_1", "key", ())

        assert shop.sent == ["GET"] * 6
