"""Orders step by step: one that goes well, some that are refused, one that is called off while its charge is slow."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from portico.contracts.catalog import ProductId
from portico.demo.people import Person
from portico.demo.shelf import Shelf, order_of
from portico.demo.walkthrough import Answer, Walk

_SOON = 30.0  # seconds for what follows an order
_BEYOND = 9_999  # more than there is of anything


@dataclass
class StepByStep:
    """Two customers and the staff, at a shop of which everything is printed.

    Args:
        walk: to the gateway.
        shelf: what is sold.
        jane: orders.
        john: looks at what is not his.
        staff: may do everything.
    """

    walk: Walk
    shelf: Shelf
    jane: Person
    john: Person
    staff: Person
    placed: list[str] = field(default_factory=list)

    async def go(self) -> None:
        """Walk through all of it; `placed` are the orders that came of it. Raises NotAsItShouldBe."""
        order_id = await self._goes_well()
        await self._is_told(order_id)
        await self._comes_back(order_id)
        await self._is_refused()
        await self._fails()
        await self._is_called_off()

    async def _goes_well(self) -> str:
        walk, jane, [lamp, chair, *_] = self.walk, self.jane, self.shelf.plenty
        walk.chapter("Jane orders; the payment provider errs at first (pm_error_then_ok)")
        wanted = {"items": [{"product_id": lamp["product_id"], "quantity": 2}]}
        [found] = (await walk.call("POST", "/inventory/availability", json=wanted)).expect(200).json()
        walk.check(found["ok"], f"there are {found['available']} of {lamp['name']}")
        draft, key = order_of((lamp, 2), (chair, 1), method="pm_error_then_ok"), secrets.token_hex(8)
        answer = await self._order(draft, key)
        order = answer.expect(201, status="pending", user_id=jane.user_id).json()
        again = await walk.call("POST", "/orders", json=draft, token=jane.token, headers={"idempotency-key": key})
        again.expect(201, order_id=order["order_id"])
        walk.tell("sent twice with its Idempotency-Key it is one order")
        told = await self._follow(order["order_id"], "confirmed", "failed")
        walk.check(told["status"] == "confirmed", "its live WebSocket tells each change, until it is confirmed")
        (await self._get(f"/orders/{order['order_id']}")).expect(200, status="confirmed", total=order["total"])
        timeline = (await self._get(f"/orders/{order['order_id']}/timeline")).expect(200).json()
        walk.console.print(_table_of(timeline))
        tried = [each for each in timeline if each["what"] == "take-payment"]
        every = [each["attempt"] for each in tried] == list(range(1, len(tried) + 1))
        walk.check(every, "its timeline has every attempt of every step, and every event")
        return str(order["order_id"])

    async def _is_told(self, order_id: str) -> None:
        walk = self.walk
        [payment] = (await self._get(f"/orders/{order_id}/payments")).expect(200).json()
        walk.check(payment["status"] == "succeeded", f"one payment: {payment['amount']} {payment['currency']}")
        mail = await self._mail(order_id, "order-confirmed")
        found = await walk.call("GET", f"/mailbox/{mail['mail_id']}", token=self.staff.token)
        if found.status == 409:  # noqa: PLR2004  # Conflict: mail leaves by SMTP here, and there is no mailbox
            walk.tell("the mail left by SMTP")
            return
        read = found.expect(200).json()
        walk.console.print(Text(f"    To: {read['recipient']}\n    Subject: {read['subject']}", style="dim"))
        walk.check(self.jane.email in read["recipient"], "Jane has a mail about it")

    async def _comes_back(self, order_id: str) -> None:
        walk, staff = self.walk, self.staff
        walk.chapter("It is shipped, delivered, and comes back")
        (await walk.call("POST", f"/orders/{order_id}/ship", token=self.jane.token)).expect(403)
        (await walk.call("POST", f"/orders/{order_id}/ship", token=staff.token)).expect(200, status="shipped")
        late = (await walk.call("POST", f"/orders/{order_id}/cancel", token=self.jane.token)).expect(409)
        walk.check(
            late.json()["legal"] == ["delivered"],
            "what was shipped can't be cancelled; the answer says what can follow",
        )
        (await walk.call("POST", f"/orders/{order_id}/deliver", token=staff.token)).expect(200, status="delivered")
        (await walk.call("POST", f"/orders/{order_id}/return", token=staff.token)).expect(200, status="returned")
        seconds = await self._until_given_back(order_id)
        walk.tell(f"Jane has her money back {seconds:.1f} s later")

    async def _is_refused(self) -> None:
        walk, lamp = self.walk, self.shelf.plenty[0]
        walk.chapter("What is refused")
        stale = order_of(({**lamp, "price": lamp["price"] + 1}, 1))
        refused = (await self._order(stale)).expect(409, code="price_changed").json()
        walk.check(
            refused["price"] == lamp["price"],
            "a price that is no longer the catalogue's: the answer has the new one",
        )
        (await self._order(order_of((lamp, 0)))).expect(422, code="invalid_request")
        unknown = {**lamp, "product_id": str(ProductId.new())}
        (await self._order(order_of((unknown, 1)))).expect(422, code="products_unknown")
        (await self._order(order_of((lamp, 1), user_id=self.john.user_id))).expect(403)
        (await walk.call("GET", f"/orders/{self.placed[0]}", token=self.john.token)).expect(404)
        (await walk.call("GET", f"/orders/{self.placed[0]}")).expect(401)
        walk.tell("another's order is not there at all (404), for who is not signed in neither (401)")

    async def _fails(self) -> None:
        walk, lamp = self.walk, self.shelf.plenty[0]
        walk.chapter("What can't be had")
        for draft, reason in (
            (order_of((lamp, _BEYOND)), "insufficient_stock"),
            (order_of((lamp, 1), method="pm_declined"), "payment_declined"),
        ):
            order = (await self._order(draft)).expect(201).json()
            told = await self._follow(order["order_id"], "confirmed", "failed")
            walk.check(told["failure_reason"] == reason, f"the order fails: {reason}")
            read = (await self._get(f"/orders/{order['order_id']}")).expect(200, status="failed").json()
            walk.tell(read["failure_detail"])

    async def _is_called_off(self) -> None:
        walk, lamp = self.walk, self.shelf.plenty[0]
        walk.chapter("Called off while the charge is slow (pm_slow)")
        order = (await self._order(order_of((lamp, 3), method="pm_slow"))).expect(201).json()
        order_id = str(order["order_id"])
        await self._follow(order_id, "reserved", "paid", "confirmed", "failed")
        answer = await walk.call("POST", f"/orders/{order_id}/cancel", token=self.jane.token)
        answer.expect(202)
        walk.tell("202: the charge is under way, and nobody knows its outcome yet")
        told = await self._follow(order_id, "cancelled", "confirmed", "failed")
        walk.check(told["status"] == "cancelled", "it is cancelled, and never was confirmed in between")
        seconds = await self._until_given_back(order_id)
        walk.tell(f"nothing is kept of what it cost ({seconds:.1f} s later)")
        await self._mail(order_id, "order-cancelled")
        stock = (await self._get(f"/inventory/{lamp['product_id']}")).expect(200).json()
        walk.check(stock["reserved"] == 0, f"nothing is held for it: {stock['available']} are available")

    async def _order(self, draft: Mapping[str, Any], key: str | None = None) -> Answer:
        headers = {"idempotency-key": key or secrets.token_hex(8)}
        answer = await self.walk.call("POST", "/orders", json=draft, token=self.jane.token, headers=headers)
        if answer.status == 201:  # noqa: PLR2004  # Created
            self.placed.append(answer.json()["order_id"])
        return answer

    async def _get(self, path: str) -> Answer:
        return await self.walk.call("GET", path, token=self.jane.token)

    async def _follow(self, order_id: str, *statuses: str) -> dict[str, Any]:
        """What Jane's WebSocket tells last: that the order is one of these."""
        path = f"/orders/{order_id}/live"
        told = await self.walk.follow(path, token=self.jane.token, until=lambda said: said["status"] in statuses)
        last: dict[str, Any] = told[-1]
        return last

    async def _until_given_back(self, order_id: str) -> float:
        async def given_back() -> bool:
            path = f"/orders/{order_id}/payments"
            answer = await self.walk.call("GET", path, token=self.jane.token, quiet=True)
            return all(kept_of(each) == 0 and each["status"] != "processing" for each in answer.expect(200).json())

        return await self.walk.until(given_back, within=_SOON, what=f"the money of {order_id} is given back")

    async def _mail(self, order_id: str, template: str) -> dict[str, Any]:
        """The mail to Jane about an order, once it is sent."""
        sent: dict[str, Any] = {}

        async def is_sent() -> bool:
            path = f"/notifications?order_id={order_id}"
            answer = await self.walk.call("GET", path, token=self.jane.token, quiet=True)
            for each in answer.expect(200).json():
                if (each["template"], each["status"]) == (template, "sent"):
                    sent.update(each)
            return bool(sent)

        seconds = await self.walk.until(is_sent, within=_SOON, what=f"the mail {template} is sent")
        self.walk.tell(f"the mail {template} is sent ({seconds:.1f} s)")
        return sent


def kept_of(payment: Mapping[str, Any]) -> float:
    """The money that is kept of a payment."""
    return round(payment["amount"] - payment["refunded"], 4) if payment["status"] == "succeeded" else 0.0


def _table_of(timeline: list[dict[str, Any]]) -> Table:
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
