"""The commerce system whole, in one process, as a browser meets it: through the gateway, with a ticket for what is live."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.shop import PATIENCE, Shop, in_this_process


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop that has five lamps, and somebody who may want some."""
    async with in_this_process({"DATA_DIR": str(tmp_path)}) as shop:
        yield shop


class TestBuying:
    @pytest.mark.parametrize(
        "method", ["pm_ok", "pm_slow", "pm_error_then_ok", "pm_timeout_then_charged", "pm_duplicate_webhook"]
    )
    async def test_an_order_is_paid_once_and_its_stock_is_held(self, shop: Shop, method: str) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2, method)

        told = await shop.jane.follows(order_id, ["confirmed", "failed"])

        assert told["status"] == "confirmed", await shop.admin.gets(f"/orders/{order_id}/timeline")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=2)
        assert await shop.jane.kept_of(order_id) == 25.0

    async def test_a_declined_card_holds_nothing(self, shop: Shop) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2, "pm_declined")

        told = await shop.jane.follows(order_id, ["confirmed", "failed"])

        assert (told["status"], told["failure_reason"]) == ("failed", "payment_declined")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=0)
        assert await shop.jane.kept_of(order_id) == 0

    async def test_more_than_there_is_is_not_sold(self, shop: Shop) -> None:
        orders = [await shop.jane.orders(shop.lamp, 2) for _ in range(4)]

        ends = [await shop.jane.follows(order_id, ["confirmed", "failed"]) for order_id in orders]

        assert sorted(end["status"] for end in ends) == ["confirmed", "confirmed", "failed", "failed"]
        assert {end["failure_reason"] for end in ends} == {None, "insufficient_stock"}
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=4)


class TestAfterwards:
    async def test_a_cancelled_order_gives_all_back(self, shop: Shop) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2)
        await shop.jane.follows(order_id, ["confirmed"])

        status, order = await shop.jane.asks("POST", f"/orders/{order_id}/cancel")

        assert (status, order["status"]) == (200, "cancelled")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=0)
        assert await shop.jane.kept_of(order_id) == 0

    @pytest.mark.parametrize("method", ["pm_ok", "pm_slow", "pm_timeout_then_charged"])
    async def test_one_that_is_cancelled_while_it_is_placed_does_too(self, shop: Shop, method: str) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2, method)

        status, _ = await shop.jane.asks("POST", f"/orders/{order_id}/cancel")
        told = await shop.jane.follows(order_id, ["cancelled", "failed"])

        assert (status in {200, 202}, told["status"]) == (True, "cancelled")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=0)
        assert await shop.jane.kept_of(order_id) == 0

    async def test_an_order_goes_out_and_comes_back(self, shop: Shop) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2)
        await shop.jane.follows(order_id, ["confirmed"])

        for action, after in (("ship", (3, 0)), ("deliver", (3, 0)), ("return", (5, 0))):
            status, answer = await shop.admin.asks("POST", f"/orders/{order_id}/{action}")
            assert status == 200, answer
            await shop.jane.until_stock_is(shop.lamp, *after)

        told = await shop.jane.follows(order_id, ["returned"])
        assert told["status"] == "returned"
        assert await shop.jane.kept_of(order_id) == 0
        steps = {each["what"] for each in await shop.jane.gets(f"/orders/{order_id}/timeline")}
        assert {"reserve-stock", "take-payment", "confirm-stock", "ship-stock", "return-stock"} <= steps


class TestMails:
    async def test_the_customer_is_written_to(self, shop: Shop) -> None:
        kept, called_off, declined = [
            await shop.jane.orders(shop.lamp, 1, method) for method in ("pm_ok", "pm_ok", "pm_declined")
        ]
        for order_id in (kept, called_off, declined):
            await shop.jane.follows(order_id, ["confirmed", "failed"])
        await shop.admin.asks("POST", f"/orders/{kept}/ship")
        await shop.jane.asks("POST", f"/orders/{called_off}/cancel")

        mails: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE):
            while len(mails) < 4:
                mails = await shop.admin.gets("/mailbox")

        assert sorted(mail["subject"] for mail in mails) == sorted(
            [
                f"Your order {kept} is confirmed",
                f"Your order {kept} is on its way",
                f"Your order {called_off} is confirmed",
                f"Your order {called_off} is cancelled",
            ]
        )
        assert {mail["recipient"] for mail in mails} == {"jane@example.com"}
        assert {each["order_id"] for each in await shop.jane.gets("/notifications")} == {kept, called_off}
        assert (await shop.jane.asks("GET", "/mailbox"))[0] == 403
