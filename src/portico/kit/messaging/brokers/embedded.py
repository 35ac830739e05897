"""The embedded broker: a bus in a file, as durable as a server's and in the same order, for one machine."""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Concatenate, ParamSpec, Self, TypeVar

from portico.kit.messaging.brokers.base import MAX_MESSAGE, BrokerUnavailable, Deliver, Hear, Message
from portico.kit.messaging.brokers.batches import to_be_sent, too_large
from portico.kit.messaging.brokers.embedded_file import KEPT, LISTENERS, BrokerFile, Numbered
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher, keep_consuming

P = ParamSpec("P")
T = TypeVar("T")

_POLL = 0.1  # seconds between two looks at whether another process has written
_LEASE = 5.0  # seconds that a group stays with a consumer that was killed
_PREFETCH = 256  # messages in memory that are not acknowledged
_PREFETCH_BYTES = 8 << 20  # and of their bodies; the last one may go beyond it


class EmbeddedBroker:
    """Messages in a SQLite file, one row for each group that wants one, gone once it is acknowledged.

    Several processes of one machine may share the file. One process consumes for a group at a time.
    """

    def __init__(self, path: Path, *, size_limit: int = MAX_MESSAGE) -> None:
        self._path = path
        self._size_limit = size_limit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="broker")
        self._file: BrokerFile | None = None
        self._woken: dict[str, set[asyncio.Event]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._file = await self._in_thread(BrokerFile, self._path)
        self._watching = asyncio.create_task(self._watch(), name="embedded broker")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def declare(self, group: str, types: Collection[str]) -> None:
        await self.run(BrokerFile.declare, group, types)

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        refused = too_large(messages, self._size_limit)
        await self.run(BrokerFile.add, list(to_be_sent(messages, refused)))
        self._wake()
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        woken = asyncio.Event()
        self._woken.setdefault(group, set()).add(woken)
        owner = secrets.token_hex(8)
        try:
            while True:
                with suppress(BrokerUnavailable):
                    if await self.run(BrokerFile.lead, group, owner, _LEASE):
                        await self._lead(
                            _Consuming(self, group, owner, woken), KeyedDispatcher(group, deliver, concurrency)
                        )
                await asyncio.sleep(_LEASE / 5)  # somebody else consumes, or the file can't be written now
        finally:
            self._woken[group].discard(woken)
            with suppress(BrokerUnavailable):
                await asyncio.shield(self.run(BrokerFile.hand_back, group, owner))

    async def _lead(self, consuming: "_Consuming", lines: KeyedDispatcher) -> None:
        try:
            async with lines:
                await consuming.run(lines)
        finally:
            await asyncio.shield(consuming.acknowledge())

    async def listen(self, types: Collection[str], hear: Hear) -> None:
        await keep_consuming("listeners", partial(self._listen, frozenset(types), hear))

    async def _listen(self, types: Collection[str], hear: Hear) -> None:
        woken = asyncio.Event()
        self._woken.setdefault(LISTENERS, set()).add(woken)
        try:
            after = await self.run(BrokerFile.listen, types)
            while True:
                woken.clear()
                while told := await self.run(BrokerFile.after, LISTENERS, after, KEPT, _PREFETCH_BYTES):
                    for _, message in told:
                        if message.type in types:  # it may be for others who listen
                            hear(message)
                    after = told[-1][0]
                await woken.wait()
        finally:
            self._woken[LISTENERS].discard(woken)

    async def check(self) -> None:
        await self.run(BrokerFile.version)

    async def waiting(self, group: str) -> int:
        return await self.run(BrokerFile.count, group)

    async def aclose(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._file is not None:
            file, self._file = self._file, None
            await asyncio.get_running_loop().run_in_executor(self._thread, file.close)
        self._thread.shutdown(wait=False)

    async def run(self, act: Callable[Concatenate[BrokerFile, P], T], *arguments: P.args, **_: P.kwargs) -> T:
        """Do `act` with the file, in its thread. Raises BrokerUnavailable where the file can't be used."""
        if self._file is None:
            raise BrokerUnavailable("the embedded broker is closed")
        return await self._in_thread(act, self._file, *arguments)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            raise BrokerUnavailable(f"{self._path.name}: {error}") from error

    def _wake(self) -> None:
        for events in self._woken.values():
            for woken in events:
                woken.set()

    async def _watch(self) -> None:
        """Wake whoever consumes when another process has written."""
        seen = -1
        while True:
            with suppress(BrokerUnavailable):
                version = await self.run(BrokerFile.version)
                if version != seen:
                    seen = version
                    self._wake()
            await asyncio.sleep(_POLL)


class _Consuming:
    """One group's messages on their way to `deliver`, while this process holds the group's lease."""

    def __init__(self, broker: EmbeddedBroker, group: str, owner: str, woken: asyncio.Event) -> None:
        self._broker = broker
        self._group = group
        self._owner = owner
        self._woken = woken
        self._unacknowledged = 0
        self._bytes = 0
        self._handled: list[int] = []
        self._after = 0
        self._leading_until = monotonic() + _LEASE

    async def run(self, lines: KeyedDispatcher) -> None:
        """Deliver until cancelled, or until the lease is lost."""
        while await self._leads():
            self._woken.clear()
            await self.acknowledge()
            fetched = await self._fetch()
            for number, message in fetched:
                lines.add(message, partial(self._taken, number, len(message.body)))
            if not fetched and not self._handled:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LEASE / 5):
                        await self._woken.wait()

    async def _leads(self) -> bool:
        now = monotonic()
        if now < self._leading_until - _LEASE / 2:
            return True
        self._leading_until = now + _LEASE
        return await self._broker.run(BrokerFile.lead, self._group, self._owner, _LEASE)

    async def _fetch(self) -> list[Numbered]:
        room, room_for_bytes = _PREFETCH - self._unacknowledged, _PREFETCH_BYTES - self._bytes
        if room <= 0 or room_for_bytes <= 0:
            return []
        found = await self._broker.run(BrokerFile.after, self._group, self._after, room, room_for_bytes)
        if found:
            self._after = found[-1][0]
            self._unacknowledged += len(found)
            self._bytes += sum(len(message.body) for _, message in found)
        return found

    async def _taken(self, number: int, size: int) -> None:
        self._unacknowledged -= 1
        self._bytes -= size
        self._handled.append(number)
        self._woken.set()

    async def acknowledge(self) -> None:
        if self._handled:
            handled, self._handled = self._handled, []
            await self._broker.run(BrokerFile.remove, handled)
