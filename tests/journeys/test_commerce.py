"""The commerce system in one process, used as a browser does: through the gateway, with tickets for WebSockets."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.shop import TIMEOUT, Shop, run_shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commerce")


@pytest.fixture(scope="module")
async def system(folder: Path) -> AsyncIterator[Shop]:
    async with run_shop({"DATA_DIR": str(folder)}) as shop:
        yield shop


@pytest.fixture
async def shop(system: Shop) -> Shop:
    """A shop with five lamps and a customer of the test."""
    return await system.restocked()


class TestBuying:
    @pytest.mark.parametrize(
        "method", ["pm_ok", "pm_slow", "pm_error_then_ok", "pm_timeout_then_charged", "pm_duplicate_webhook"]
    )
    async def test_an_order_is_paid_once_and_its_stock_is_held(self, shop: Shop, method: str) -> None:
        order_id = await shop.order(2, method)

        last = await shop.jane.follow_order(order_id, ["confirmed", "failed"])

        assert last["status"] == "confirmed", await shop.admin.get(f"/orders/{order_id}/timeline")
        await shop.wait_for_stock(on_hand=5, reserved=2)
        assert await shop.kept_of(order_id) == 25.0

    async def test_a_declined_card_holds_nothing(self, shop: Shop) -> None:
        order_id = await shop.order(2, "pm_declined")

        last = await shop.jane.follow_order(order_id, ["confirmed", "failed"])

        assert (last["status"], last["failure_reason"]) == ("failed", "payment_declined")
        await shop.wait_for_stock(on_hand=5, reserved=0)
        assert await shop.kept_of(order_id) == 0

    async def test_stock_is_not_oversold(self, shop: Shop) -> None:
        orders = [await shop.order(2) for _ in range(4)]

        ends = [await shop.jane.follow_order(order_id, ["confirmed", "failed"]) for order_id in orders]

        assert sorted(end["status"] for end in ends) == ["confirmed", "confirmed", "failed", "failed"]
        assert {end["failure_reason"] for end in ends} == {None, "insufficient_stock"}
        await shop.wait_for_stock(on_hand=5, reserved=4)


class TestAfterwards:
    async def test_a_cancelled_order_releases_stock_and_refunds(self, shop: Shop) -> None:
        order_id = await shop.order(2)
        await shop.jane.follow_order(order_id, ["confirmed"])

        cancelled = await shop.jane.request("POST", f"/orders/{order_id}/cancel")

        cancelled.expect(200, status="cancelled")
        await shop.wait_for_stock(on_hand=5, reserved=0)
        assert await shop.kept_of(order_id) == 0

    @pytest.mark.parametrize("method", ["pm_ok", "pm_slow", "pm_timeout_then_charged"])
    async def test_an_order_cancelled_during_its_placement_releases_stock_and_refunds(
        self, shop: Shop, method: str
    ) -> None:
        order_id = await shop.order(2, method)

        response = await shop.jane.request("POST", f"/orders/{order_id}/cancel")
        last = await shop.jane.follow_order(order_id, ["cancelled", "failed"])

        assert (response.status in {200, 202}, last["status"]) == (True, "cancelled")
        await shop.wait_for_stock(on_hand=5, reserved=0)
        assert await shop.kept_of(order_id) == 0

    async def test_an_order_is_shipped_and_returned(self, shop: Shop) -> None:
        order_id = await shop.order(2)
        await shop.jane.follow_order(order_id, ["confirmed"])

        for action, on_hand in (("ship", 3), ("deliver", 3), ("return", 5)):
            (await shop.admin.request("POST", f"/orders/{order_id}/{action}")).expect(200)
            await shop.wait_for_stock(on_hand=on_hand, reserved=0)

        last = await shop.jane.follow_order(order_id, ["returned"])
        assert last["status"] == "returned"
        assert await shop.kept_of(order_id) == 0
        steps = {each["what"] for each in await shop.jane.get(f"/orders/{order_id}/timeline")}
        assert {"reserve-stock", "take-payment", "confirm-stock", "ship-stock", "return-stock"} <= steps


class TestMails:
    async def test_the_customer_receives_mails(self, shop: Shop) -> None:
        confirmed, cancelled, declined = [await shop.order(1, method) for method in ("pm_ok", "pm_ok", "pm_declined")]
        for order_id in (confirmed, cancelled, declined):
            await shop.jane.follow_order(order_id, ["confirmed", "failed"])
        await shop.admin.request("POST", f"/orders/{confirmed}/ship")
        await shop.jane.request("POST", f"/orders/{cancelled}/cancel")

        mails = await mails_to(shop, 4)

        assert sorted(mail["subject"] for mail in mails) == sorted(
            [
                f"Your order {confirmed} is confirmed",
                f"Your order {confirmed} is on its way",
                f"Your order {cancelled} is confirmed",
                f"Your order {cancelled} is cancelled",
            ]
        )
        assert {each["order_id"] for each in await shop.jane.get("/notifications")} == {confirmed, cancelled}
        assert (await shop.jane.request("GET", "/mailbox")).status == 403

    async def test_a_forgotten_password_is_reset_by_mail(self, shop: Shop, folder: Path) -> None:
        (await shop.jane.request("POST", "/auth/password-reset", {"email": shop.email})).expect(202)
        [mail] = await mails_to(shop, 1)
        token, password = mailed_token(folder, shop.email), "another password of Jane"

        confirmation = {"token": token, "password": password}
        (await shop.jane.request("POST", "/auth/password-reset/confirm", confirmation)).expect(204)

        assert (await shop.jane.request("GET", "/auth/me")).status == 401
        jane = await shop.jane.sign_in(shop.email, password)
        assert (await jane.get("/auth/me"))["email_verified"] is True
        assert token not in str(await shop.admin.get(f"/mailbox/{mail['mail_id']}"))


async def mails_to(shop: Shop, number: int) -> list[dict[str, Any]]:
    """Wait until the customer has that many mails, and return them."""
    mails: list[dict[str, Any]] = []
    async with asyncio.timeout(TIMEOUT):
        while len(mails) < number:
            mails = [each for each in await shop.admin.get("/mailbox") if each["recipient"] == shop.email]
    return mails


def mailed_token(folder: Path, recipient: str) -> str:
    """Return the token of the only mail to an address, as its recipient reads it."""
    [text] = [text for path in folder.rglob("*.eml") if f"To: {recipient}" in (text := path.read_text())]
    found = re.search(r"new password:\s+([\w-]{43})\s", text)
    assert found is not None
    return found.group(1)
