"""Orders step by step: a successful one, rejected and failed ones, and one that is cancelled during its charge."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from portico.contracts.catalog import ProductId
from portico.demo.accounts import Account
from portico.demo.shelf import Shelf, order_of
from portico.demo.walkthrough import Walk
from portico.gateway_client import Response
from portico.shop_client import kept_amount

_TIMEOUT = 30.0  # seconds
_TOO_MANY = 9_999  # more than the stock of any product


@dataclass
class SingleOrders:
    """Orders whose requests are all printed.

    Args:
        walk: to the gateway.
        shelf: the products.
        jane: the customer who orders.
        john: a customer who tries to read Jane's orders.
        staff: an account with all permissions.
    """

    walk: Walk
    shelf: Shelf
    jane: Account
    john: Account
    staff: Account
    placed: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Run all steps; `placed` are the resulting orders. Raises ExpectationFailed."""
        order_id = await self._place_order()
        await self._check_payment_and_mail(order_id)
        await self._ship_and_return(order_id)
        await self._be_rejected()
        await self._fail()
        await self._cancel_during_charge()

    async def _place_order(self) -> str:
        walk, jane, [lamp, chair, *_] = self.walk, self.jane, self.shelf.plenty
        walk.section("Jane orders; the payment provider returns an error first (pm_error_then_ok)")
        wanted = {"items": [{"product_id": lamp["product_id"], "quantity": 2}]}
        [found] = (await walk.call("POST", "/inventory/availability", json=wanted)).expect(200).json()
        walk.check(found["ok"], f"{found['available']} of {lamp['name']} are available")
        draft, key = order_of((lamp, 2), (chair, 1), method="pm_error_then_ok"), secrets.token_hex(8)
        response = await self._order(draft, key)
        order = response.expect(201, status="pending", user_id=jane.user_id).json()
        repeated = await walk.call("POST", "/orders", json=draft, token=jane.token, headers={"idempotency-key": key})
        repeated.expect(201, order_id=order["order_id"])
        walk.report("sent twice with one Idempotency-Key, it is one order")
        last = await self._follow(order["order_id"], "confirmed", "failed")
        walk.check(last["status"] == "confirmed", "its WebSocket sends each change until it is confirmed")
        (await self._get(f"/orders/{order['order_id']}")).expect(200, status="confirmed", total=order["total"])
        timeline = (await self._get(f"/orders/{order['order_id']}/timeline")).expect(200).json()
        walk.console.print(_timeline_table(timeline))
        attempts = [each["attempt"] for each in timeline if each["what"] == "take-payment"]
        is_complete = attempts == list(range(1, len(attempts) + 1))
        walk.check(is_complete, "its timeline has every attempt of every step, and every event")
        return str(order["order_id"])

    async def _check_payment_and_mail(self, order_id: str) -> None:
        walk = self.walk
        [payment] = (await self._get(f"/orders/{order_id}/payments")).expect(200).json()
        walk.check(payment["status"] == "succeeded", f"one payment: {payment['amount']} {payment['currency']}")
        mail = await self._wait_for_mail(order_id, "order-confirmed")
        found = await walk.call("GET", f"/mailbox/{mail['mail_id']}", token=self.staff.token)
        if found.status == 409:  # noqa: PLR2004  # Conflict: mail is sent by SMTP, and there is no mailbox
            walk.report("the mail was sent by SMTP")
            return
        stored = found.expect(200).json()
        walk.console.print(Text(f"    To: {stored['recipient']}\n    Subject: {stored['subject']}", style="dim"))
        walk.check(self.jane.email in stored["recipient"], "Jane received a mail about it")

    async def _ship_and_return(self, order_id: str) -> None:
        walk, staff = self.walk, self.staff
        walk.section("It is shipped, delivered and returned")
        (await walk.call("POST", f"/orders/{order_id}/ship", token=self.jane.token)).expect(403)
        (await walk.call("POST", f"/orders/{order_id}/ship", token=staff.token)).expect(200, status="shipped")
        late = (await walk.call("POST", f"/orders/{order_id}/cancel", token=self.jane.token)).expect(409)
        walk.check(
            late.json()["legal"] == ["delivered"],
            "a shipped order cannot be cancelled; the response names the allowed next statuses",
        )
        (await walk.call("POST", f"/orders/{order_id}/deliver", token=staff.token)).expect(200, status="delivered")
        (await walk.call("POST", f"/orders/{order_id}/return", token=staff.token)).expect(200, status="returned")
        seconds = await self._wait_for_refund(order_id)
        walk.report(f"the payment is refunded {seconds:.1f} s later")

    async def _be_rejected(self) -> None:
        walk, lamp = self.walk, self.shelf.plenty[0]
        walk.section("Rejected orders")
        stale = order_of(({**lamp, "price": lamp["price"] + 1}, 1))
        rejected = (await self._order(stale)).expect(409, code="price_changed").json()
        walk.check(rejected["price"] == lamp["price"], "an outdated price is rejected with the current one")
        (await self._order(order_of((lamp, 0)))).expect(422, code="invalid_request")
        unknown = {**lamp, "product_id": str(ProductId.new())}
        (await self._order(order_of((unknown, 1)))).expect(422, code="products_unknown")
        (await self._order(order_of((lamp, 1), user_id=self.john.user_id))).expect(403)
        (await walk.call("GET", f"/orders/{self.placed[0]}", token=self.john.token)).expect(404)
        (await walk.call("GET", f"/orders/{self.placed[0]}")).expect(401)
        walk.report("another customer's order is not found (404), and anonymous requests are rejected (401)")

    async def _fail(self) -> None:
        walk, lamp = self.walk, self.shelf.plenty[0]
        walk.section("Failed orders")
        for draft, reason in (
            (order_of((lamp, _TOO_MANY)), "insufficient_stock"),
            (order_of((lamp, 1), method="pm_declined"), "payment_declined"),
        ):
            order = (await self._order(draft)).expect(201).json()
            last = await self._follow(order["order_id"], "confirmed", "failed")
            walk.check(last["failure_reason"] == reason, f"the order fails: {reason}")
            failed = (await self._get(f"/orders/{order['order_id']}")).expect(200, status="failed").json()
            walk.report(failed["failure_detail"])

    async def _cancel_during_charge(self) -> None:
        walk, lamp = self.walk, self.shelf.plenty[0]
        walk.section("An order is cancelled while its charge is slow (pm_slow)")
        order = (await self._order(order_of((lamp, 3), method="pm_slow"))).expect(201).json()
        order_id = str(order["order_id"])
        await self._follow(order_id, "reserved", "paid", "confirmed", "failed")
        response = await walk.call("POST", f"/orders/{order_id}/cancel", token=self.jane.token)
        response.expect(202)
        walk.report("202: the charge is in progress, and its outcome is not known yet")
        last = await self._follow(order_id, "cancelled", "confirmed", "failed")
        walk.check(last["status"] == "cancelled", "it is cancelled, and was not confirmed in between")
        seconds = await self._wait_for_refund(order_id)
        walk.report(f"its payment is refunded ({seconds:.1f} s later)")
        await self._wait_for_mail(order_id, "order-cancelled")
        stock = (await self._get(f"/inventory/{lamp['product_id']}")).expect(200).json()
        walk.check(stock["reserved"] == 0, f"no stock is reserved for it: {stock['available']} are available")

    async def _order(self, draft: Mapping[str, Any], key: str | None = None) -> Response:
        headers = {"idempotency-key": key or secrets.token_hex(8)}
        response = await self.walk.call("POST", "/orders", json=draft, token=self.jane.token, headers=headers)
        if response.status == 201:  # noqa: PLR2004  # Created
            self.placed.append(response.json()["order_id"])
        return response

    async def _get(self, path: str) -> Response:
        return await self.walk.call("GET", path, token=self.jane.token)

    async def _follow(self, order_id: str, *statuses: str) -> dict[str, Any]:
        """Follow an order by WebSocket until it has one of these statuses; return the last message."""
        path = f"/orders/{order_id}/live"
        messages = await self.walk.follow(
            path, token=self.jane.token, until=lambda message: message["status"] in statuses
        )
        last: dict[str, Any] = messages[-1]
        return last

    async def _wait_for_refund(self, order_id: str) -> float:
        async def is_refunded() -> bool:
            path = f"/orders/{order_id}/payments"
            response = await self.walk.call("GET", path, token=self.jane.token, quiet=True)
            payments = response.expect(200).json()
            return all(kept_amount(each) == 0 and each["status"] != "processing" for each in payments)

        return await self.walk.until(is_refunded, within=_TIMEOUT, what=f"the payment of {order_id} is refunded")

    async def _wait_for_mail(self, order_id: str, template: str) -> dict[str, Any]:
        """Wait until a mail about an order is sent; return it."""
        sent: dict[str, Any] = {}

        async def is_sent() -> bool:
            path = f"/notifications?order_id={order_id}"
            response = await self.walk.call("GET", path, token=self.jane.token, quiet=True)
            for each in response.expect(200).json():
                if (each["template"], each["status"]) == (template, "sent"):
                    sent.update(each)
            return bool(sent)

        seconds = await self.walk.until(is_sent, within=_TIMEOUT, what=f"the mail {template} is sent")
        self.walk.report(f"the mail {template} is sent ({seconds:.1f} s)")
        return sent


def _timeline_table(timeline: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1)
    for column in ("what", "action", "outcome"):
        table.add_column(column)
    table.add_column("attempt", justify="right")
    table.add_column("ms", justify="right")
    table.add_column("error", style="dim", no_wrap=True, overflow="ellipsis")
    for each in timeline:
        milliseconds = "" if each["seconds"] is None else f"{each['seconds'] * 1000:.0f}"
        attempt = str(each["attempt"] or "")
        cells = (each["what"], each["action"], each["outcome"], attempt, milliseconds, each["error"] or "")
        table.add_row("", *(Text(cell) for cell in cells))
    return table
