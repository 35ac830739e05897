"""Receiving of request bodies within limits of speed and number. The gateway and every service use it."""

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
    """A client is sending its share of bodies. The rest of this one is not read."""

    detail = "Too many requests are waiting for their bodies. Retry in {retry_after:.0f} seconds."

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | {"connection": "close"}


@dataclass(frozen=True, slots=True)
class BodyPace:
    """How long a client may take to send a body: `grace` seconds, and one more for each `min_rate` bytes received."""

    grace: float = 10.0
    min_rate: int = 512

    def seconds_for(self, size: int) -> float:
        """Return how long (seconds) may be waited in total for the next part, after `size` bytes."""
        return self.grace + size / self.min_rate


class BodyIntake:
    """Request bodies that are being received.

    Args:
        pace: how slowly a body may arrive.
        waiting: requests that wait for the next part of their body, by client.
    """

    def __init__(self, pace: BodyPace, waiting: Shares) -> None:
        self.pace = pace
        self.waiting = waiting

    @classmethod
    def of(cls, settings: Settings, *, margin: float = _SERVICE_MARGIN) -> "BodyIntake":
        """Return the intake of a service; with a margin of 0, that of the gateway."""
        limit = settings.max_requests
        waiting = Shares(limit, share_of(limit, settings.max_client_share), full=TooManyBodies, exceeded=TooManyBodies)
        return cls(BodyPace(settings.body_grace + margin, settings.body_min_rate), waiting)


class BodyReceiver:
    """ASGI `receive` that limits the time that its caller waits for a request body. Time spent elsewhere does not count.

    Args:
        receive: the server's `receive`.
        intake: the limits.
        client: returns the client, as it is counted; called if the body is read.
        places: counts the requests in progress. This one gives its place back while it waits.
    """

    __slots__ = ("_client", "_complete", "_find_client", "_intake", "_places", "_receive", "_size", "_waited")

    def __init__(
        self, receive: Receive, intake: BodyIntake, client: Callable[[], str], places: Shares | None = None
    ) -> None:
        self._receive = receive
        self._intake = intake
        self._find_client = client
        self._places = places
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
        """Wait for the next message. The request's place is free for others meanwhile."""
        client = self._client
        if client is None:
            client = self._client = self._find_client()
        try:
            self._intake.waiting.take(client)
        except TooManyBodies:
            begun.close()
            raise
        if self._places is not None:
            self._places.release(client)
        try:
            return await self._in_time(begun)
        finally:
            if self._places is not None:
                self._places.resume(client)
            self._intake.waiting.release(client)

    async def _in_time(self, begun: Begun[Message]) -> Message:
        pace, loop = self._intake.pace, asyncio.get_running_loop()
        since = loop.time()
        try:
            async with asyncio.timeout(pace.seconds_for(self._size) - self._waited):
                return await begun
        except TimeoutError:
            raise BodyTooSlow(grace=pace.grace, min_rate=pace.min_rate) from None
        finally:
            self._waited += loop.time() - since
