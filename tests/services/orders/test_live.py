import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from tests.services.orders.shop import Orders, new_user_id, open_orders

from portico.gateway.upstreams.base import CloseFrame, HandshakeRefused, UpstreamRequest, UpstreamWebSocket
from portico.gateway.upstreams.local import LocalUpstream
from portico.services.orders.models import Order
from portico.testing.databases import Databases

TIMEOUT = 60.0


@asynccontextmanager
async def following(orders: Orders, order_id: str, subject: str, *permissions: str) -> AsyncIterator[UpstreamWebSocket]:
    """Open a WebSocket that follows an order."""
    upstream = LocalUpstream("orders", orders.run.channel._apps["orders"])
    token = orders.run.issuer.token(subject, permissions=permissions)
    asking = UpstreamRequest(
        "GET", f"/orders/{order_id}/live".encode(), b"", [(b"authorization", f"Bearer {token}".encode())], TIMEOUT
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield await upstream.connect(asking)
    finally:
        await upstream.aclose()


async def received(socket: UpstreamWebSocket) -> dict[str, Any]:
    message = await socket.receive()
    assert isinstance(message, str), message
    document: dict[str, Any] = orjson.loads(message)
    return document


class TestLive:
    async def test_of_an_identifier_that_cannot_exist_is_404(self, embedded: Orders) -> None:
        with pytest.raises(HandshakeRefused) as refusal:
            async with following(embedded, "17", new_user_id()):
                pass

        assert (refusal.value.status, orjson.loads(refusal.value.body)["code"]) == (404, "order_not_found")

    async def test_sends_the_status_and_each_change_until_the_order_is_final(self, orders: Orders) -> None:
        jane = new_user_id()
        order_id = (await orders.place(by=orders.as_user(subject=jane)))["order_id"]
        async with following(orders, order_id, jane) as socket:
            first = await received(socket)
            assert first == {
                "order_id": order_id,
                "status": "pending",
                "failure_reason": None,
                "updated_at": "2026-01-05T09:00:00Z",
            }
            await orders.runner.run_due()
            seen = [(await received(socket))["status"]]
            while seen[-1] != "confirmed":
                seen.append((await received(socket))["status"])
            assert set(seen) <= {"reserved", "paid", "confirmed"}
            await orders.request("cancel", order_id)

            assert (await received(socket))["status"] == "cancelled"
            assert await socket.receive() == CloseFrame(1000, "")

    async def test_sends_changes_made_by_another_process(self, sqlite_databases: Databases) -> None:
        async with open_orders(sqlite_databases, variables={"ORDERS_LIVE_POLL": "0.05"}) as orders:
            jane = new_user_id()
            order_id = (await orders.place(by=orders.as_user(subject=jane)))["order_id"]
            async with following(orders, order_id, jane) as socket:
                await received(socket)
                async with orders.run.context.transaction() as work:  # notifies no follower in this process
                    await work.execute(
                        update(Order)
                        .where(Order.order_id == order_id)
                        .values(status="failed", failure_reason="payment_declined", revision=7)
                    )

                assert (await received(socket))["failure_reason"] == "payment_declined"
                assert await socket.receive() == CloseFrame(1000, "")

    async def test_requires_access_to_the_order(self, embedded: Orders) -> None:
        order_id = (await embedded.place())["order_id"]

        with pytest.raises(HandshakeRefused) as refused:
            async with following(embedded, order_id, new_user_id()):
                pass
        async with following(embedded, order_id, new_user_id(), "orders:read") as socket:
            assert (await received(socket))["status"] == "pending"

        assert refused.value.status == 404
        assert orjson.loads(refused.value.body)["code"] == "order_not_found"
