import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from tests.services.orders.shop import Orders, open_orders, somebody

from portico.gateway.upstreams.base import CloseFrame, HandshakeRefused, UpstreamRequest, UpstreamWebSocket
from portico.gateway.upstreams.local import LocalUpstream
from portico.services.orders.models import Order
from portico.testing.databases import Databases

PATIENCE = 10.0


@asynccontextmanager
async def following(orders: Orders, order_id: str, subject: str, *permissions: str) -> AsyncIterator[UpstreamWebSocket]:
    """Somebody who follows an order."""
    upstream = LocalUpstream("orders", orders.run.channel._apps["orders"])
    token = orders.run.issuer.token(subject, permissions=permissions)
    asking = UpstreamRequest(
        "GET", f"/orders/{order_id}/live".encode(), b"", [(b"authorization", f"Bearer {token}".encode())], PATIENCE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield await upstream.connect(asking)
    finally:
        await upstream.aclose()


async def told(socket: UpstreamWebSocket) -> dict[str, Any]:
    message = await socket.receive()
    assert isinstance(message, str), message
    document: dict[str, Any] = orjson.loads(message)
    return document


class TestLive:
    async def test_tells_how_it_stands_and_each_change_until_its_end(self, orders: Orders) -> None:
        jane = somebody()
        order_id = (await orders.placed(by=orders.as_user(subject=jane)))["order_id"]
        async with following(orders, order_id, jane) as socket:
            first = await told(socket)
            assert first == {
                "order_id": order_id,
                "status": "pending",
                "failure_reason": None,
                "updated_at": "2026-01-05T09:00:00Z",
            }
            await orders.runner.run_due()
            seen = [(await told(socket))["status"]]
            while seen[-1] != "confirmed":
                seen.append((await told(socket))["status"])
            assert set(seen) <= {"reserved", "paid", "confirmed"}
            await orders.does("cancel", order_id)

            assert (await told(socket))["status"] == "cancelled"
            assert await socket.receive() == CloseFrame(1000, "")

    async def test_notices_what_another_process_changed(self, sqlite_databases: Databases) -> None:
        async with open_orders(sqlite_databases, variables={"ORDERS_LIVE_POLL": "0.05"}) as orders:
            jane = somebody()
            order_id = (await orders.placed(by=orders.as_user(subject=jane)))["order_id"]
            async with following(orders, order_id, jane) as socket:
                await told(socket)
                async with orders.run.context.transaction() as work:  # which tells nobody in this process
                    await work.execute(
                        update(Order)
                        .where(Order.order_id == order_id)
                        .values(status="failed", failure_reason="payment_declined", revision=7)
                    )

                assert (await told(socket))["failure_reason"] == "payment_declined"
                assert await socket.receive() == CloseFrame(1000, "")

    async def test_is_for_who_may_see_the_order(self, embedded: Orders) -> None:
        order_id = (await embedded.placed())["order_id"]

        with pytest.raises(HandshakeRefused) as refused:
            async with following(embedded, order_id, somebody()):
                pass
        async with following(embedded, order_id, somebody(), "orders:read") as socket:
            assert (await told(socket))["status"] == "pending"

        assert refused.value.status == 404
        assert orjson.loads(refused.value.body)["code"] == "order_not_found"
