"""Receive request bodies within limits of speed and number. The gateway and every service use this."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Receive

from portico.kit.foundation.aio import Begun
from portico.kit.foundation.problems import Problem
from portico.kit.foundation.shares import Shares, TooManyAtOnce, share_of
from portico.kit.settings import Settings

# A service waits longer than the gateway, so that the gateway responds and closes the connection to its client.
_SERVICE_MARGIN: Final = 1.0


class BodyTooSlow(Problem):
    """The body arrives too slowly (RFC 9110 section 15.5.9)."""

    status = 408
    detail = "The body did not arrive within {grace:g} seconds plus its size at {min_rate} bytes per second."

    grace: float
    min_rate: int

    @property
    def headers(self) -> dict[str, str]:
        return {"connection": "close"}


class TooManyBodies(TooManyAtOnce):
    """A client already sends as many bodies as it may. The rest of this body is not read."""

    detail = "Too many requests are waiting for their bodies. Retry in {retry_after:.0f} seconds."

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | {"connection": "close"}


@dataclass(frozen=True, slots=True)
class BodyRateLimit:
    """Time limit for a client to send a body: `grace` seconds, plus one second per `min_rate` bytes received."""

    grace: float = 10.0
    min_rate: int = 512

    def seconds_for(self, size: int) -> float:
        """Return the total time limit (seconds) for the next part after `size` bytes."""
        return self.grace + size / self.min_rate


class BodyLimits:
    """Limits of the request bodies that are being received.

    Args:
        rate: minimum rate at which a body must arrive.
        waiting: requests that wait for the next part of their body, by client.
    """

    def __init__(self, rate: BodyRateLimit, waiting: Shares) -> None:
        self.rate = rate
        self.waiting = waiting

    @classmethod
    def of(cls, settings: Settings, *, margin: float = _SERVICE_MARGIN) -> "BodyLimits":
        """Return the limits of a service. With a margin of 0, they are those of the gateway."""
        limit = settings.max_requests
        waiting = Shares(limit, share_of(limit, settings.max_client_share), full=TooManyBodies, exceeded=TooManyBodies)
        return cls(BodyRateLimit(settings.body_grace + margin, settings.body_min_rate), waiting)


class BodyReceiver:
    """ASGI `receive` that limits the time that the caller waits for a request body. Other time does not count.

    Args:
        receive: the server's `receive`.
        limits: the limits.
        client: returns the key by which the client is counted; called if the body is read.
        slots: counts the requests in progress. This request releases its slot while it waits.
    """

    __slots__ = ("_client", "_complete", "_find_client", "_limits", "_receive", "_size", "_slots", "_waited")

    def __init__(
        self, receive: Receive, limits: BodyLimits, client: Callable[[], str], slots: Shares | None = None
    ) -> None:
        self._receive = receive
        self._limits = limits
        self._find_client = client
        self._slots = slots
        self._client: str | None = None
        self._complete = False
        self._size = 0
        self._waited = 0.0

    async def __call__(self) -> Message:
        """Return the next message. Raises BodyTooSlow, TooManyBodies."""
        if self._complete:
            return await self._receive()
        begun = Begun(self._receive())
        message = begun.result if begun.is_done else await self._wait(begun)
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message

    async def _wait(self, begun: Begun[Message]) -> Message:
        """Wait for the next message. Other requests can use this request's slot meanwhile."""
        client = self._client
        if client is None:
            client = self._client = self._find_client()
        try:
            self._limits.waiting.take(client)
        except TooManyBodies:
            begun.close()
            raise
        if self._slots is not None:
            self._slots.release(client)
        try:
            return await self._in_time(begun)
        finally:
            if self._slots is not None:
                self._slots.resume(client)
            self._limits.waiting.release(client)

    async def _in_time(self, begun: Begun[Message]) -> Message:
        rate, loop = self._limits.rate, asyncio.get_running_loop()
        since = loop.time()
        try:
            async with asyncio.timeout(rate.seconds_for(self._size) - self._waited):
                return await begun
        except TimeoutError:
            raise BodyTooSlow(grace=rate.grace, min_rate=rate.min_rate) from None
        finally:
            self._waited += loop.time() - since
