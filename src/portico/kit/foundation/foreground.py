"""Foreground work of a process: the requests that it serves. Background work that can wait lets it go first."""

import asyncio

from portico.kit.foundation.aio import wait_for_event

_CALM = 0.02  # seconds after a request in which its caller or a saga is likely to send the next one


class Foreground:
    """The requests that this process serves.

    Attributes:
        in_flight: how many there are.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._ended_at = float("-inf")
        self._idle = asyncio.Event()

    def begin(self) -> None:
        """Count a request that begins."""
        self.in_flight += 1
        self._idle.clear()

    def end(self) -> None:
        """Count a request that has ended."""
        self.in_flight -= 1
        if not self.in_flight:
            self._ended_at = asyncio.get_running_loop().time()
            self._idle.set()

    async def wait_until_quiet(self, at_most: float) -> None:
        """Wait until the process has served no request for a moment, but at most `at_most` seconds."""
        clock = asyncio.get_running_loop().time
        until = clock() + at_most
        while (remaining := until - clock()) > 0:
            if self.in_flight:
                await wait_for_event(self._idle, remaining)
            elif (calm := self._ended_at + _CALM - clock()) > 0:
                await asyncio.sleep(min(calm, remaining))
            else:
                return
