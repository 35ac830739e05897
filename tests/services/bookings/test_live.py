import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from tests.services.bookings.support import BookingsService

from portico.gateway.upstreams.base import CloseFrame, HandshakeRefused, UpstreamRequest, UpstreamWebSocket
from portico.gateway.upstreams.local import LocalUpstream
from portico.kit import UserId

TIMEOUT = 60.0


@asynccontextmanager
async def following(bookings: BookingsService, booking_id: str, subject: str) -> AsyncIterator[UpstreamWebSocket]:
    """Open a WebSocket that follows a booking."""
    upstream = LocalUpstream("bookings", bookings.run.channel._apps["bookings"])
    token = bookings.run.issuer.token(subject)
    path = f"/bookings/{booking_id}/live".encode()
    asking = UpstreamRequest("GET", path, b"", [(b"authorization", f"Bearer {token}".encode())], TIMEOUT)
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
    async def test_sends_the_status_until_it_is_final(self, bookings: BookingsService) -> None:
        jane = UserId.new()
        booking = await bookings.book(by=bookings.as_user(subject=jane), payment_method="pm_declined")
        async with following(bookings, booking["booking_id"], jane) as socket:
            first = await received(socket)
            await bookings.runner.run_due()
            last = await received(socket)

            assert first == {
                "booking_id": booking["booking_id"],
                "status": "PENDING",
                "failure_reason": None,
                "updated_at": "2026-01-05T09:00:00Z",
            }
            assert (last["status"], last["failure_reason"]) == ("FAILED", "payment_declined")
            assert await socket.receive() == CloseFrame(1000, "")

    async def test_requires_access_to_the_booking(self, embedded: BookingsService) -> None:
        booking = await embedded.book()

        with pytest.raises(HandshakeRefused) as refused:
            async with following(embedded, booking["booking_id"], UserId.new()):
                pass

        assert (refused.value.status, orjson.loads(refused.value.body)["code"]) == (404, "booking_not_found")
