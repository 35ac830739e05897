"""Embedded broker: durable, ordered messages in a SQLite file, for the processes of one machine."""

import asyncio
import os
import secrets
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Concatenate, ParamSpec, Self, TypeVar

from portico.kit.foundation.aio import wait_for_event
from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.brokers.base import MAX_MESSAGE, BrokerUnavailable, Deliver, Message, OnMessage, partition_of
from portico.kit.messaging.brokers.batches import messages_to_send, too_large
from portico.kit.messaging.brokers.embedded_file import SUBSCRIBER_BACKLOG, SUBSCRIBERS, BrokerFile
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher, consume_until_cancelled

P = ParamSpec("P")
T = TypeVar("T")

_POLL = Backoff(base=0.1, limit=1.0, jitter=0.0, factor=1.2)  # interval of the check for writes of other processes
_LEASE = 5.0  # seconds after which other processes take over the partitions of a killed consumer
_PREFETCH = 256  # maximum number of unacknowledged messages in memory
_PREFETCH_BYTES = 8 << 20  # maximum size of their bodies; the last message may exceed it


class EmbeddedBroker:
    """Messages in a SQLite file, one row per group that declared the type. Acknowledging a message deletes its row.

    Several processes of one machine may share the file. The consumers of a group divide its partitions by leases.
    """

    def __init__(self, path: Path, *, size_limit: int = MAX_MESSAGE) -> None:
        self._path = path
        self._log = f"{path}-wal"
        self._size_limit = size_limit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="broker")
        self._file: BrokerFile | None = None
        self._wakeups: dict[str, set[asyncio.Event]] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._file = await self._in_thread(BrokerFile, self._path)
        self._watcher = asyncio.create_task(self._watch(), name="embedded broker")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def declare(self, group: str, types: Collection[str]) -> None:
        await self.run(BrokerFile.declare, group, types)

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        refused = too_large(messages, self._size_limit)
        await self.run(BrokerFile.add, list(messages_to_send(messages, refused)))
        self._wake()
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        wakeup = asyncio.Event()
        self._wakeups.setdefault(group, set()).add(wakeup)
        owner = secrets.token_hex(8)
        try:
            while True:
                with suppress(BrokerUnavailable):
                    await self._consume(
                        _GroupConsumer(self, group, owner, wakeup), KeyedDispatcher(group, deliver, concurrency)
                    )
                await asyncio.sleep(_LEASE / 5)  # the file is not writable
        finally:
            self._wakeups[group].discard(wakeup)
            with suppress(BrokerUnavailable):
                await asyncio.shield(self.run(BrokerFile.leave, group, owner))

    async def _consume(self, consumer: "_GroupConsumer", dispatcher: KeyedDispatcher) -> None:
        try:
            async with dispatcher:
                await consumer.run(dispatcher)
        finally:
            await asyncio.shield(consumer.acknowledge())

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        await consume_until_cancelled("broadcasts", partial(self._subscribe, frozenset(types), handler))

    async def _subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        wakeup = asyncio.Event()
        self._wakeups.setdefault(SUBSCRIBERS, set()).add(wakeup)
        try:
            after = await self.run(BrokerFile.subscribe, types)
            while True:
                wakeup.clear()
                while batch := await self.run(
                    BrokerFile.after, SUBSCRIBERS, after, SUBSCRIBER_BACKLOG, _PREFETCH_BYTES
                ):
                    for _, message in batch:
                        if message.type in types:  # other subscribers may want it
                            handler(message)
                    after = batch[-1][0]
                await wakeup.wait()
        finally:
            self._wakeups[SUBSCRIBERS].discard(wakeup)

    async def check(self) -> None:
        await self.run(BrokerFile.version)

    async def backlog(self, group: str) -> int:
        return await self.run(BrokerFile.count, group)

    async def aclose(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._file is not None:
            file, self._file = self._file, None
            await asyncio.get_running_loop().run_in_executor(self._thread, file.close)
        self._thread.shutdown(wait=False)

    async def run(self, act: Callable[Concatenate[BrokerFile, P], T], *arguments: P.args, **_: P.kwargs) -> T:
        """Run `act` with the file in the file's thread.

        Raises:
            BrokerUnavailable: the file cannot be used, or the broker is closed.
        """
        if self._file is None:
            raise BrokerUnavailable("the embedded broker is closed")
        return await self._in_thread(act, self._file, *arguments)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            raise BrokerUnavailable(f"{self._path.name}: {error}") from error

    def _wake(self) -> None:
        for events in self._wakeups.values():
            for wakeup in events:
                wakeup.set()

    async def _watch(self) -> None:
        """Wake the consumers when another process has written.

        The modification time of the write-ahead log is cheap to read. It misses a second write within one tick of the
        file system's clock. Therefore the database is queried too once the interval has reached its limit. The interval
        stays short while other processes use the file, because they renew their leases.
        """
        seen, changed_at, unchanged = -1, None, 0
        while True:
            with suppress(BrokerUnavailable):
                unchanged += 1
                if (written_at := self._written_at()) != changed_at or _POLL.delay(unchanged) == _POLL.limit:
                    changed_at = written_at
                    version = await self.run(BrokerFile.version)
                    if version != seen:
                        seen, unchanged = version, 0
                        self._wake()
            await asyncio.sleep(_POLL.delay(unchanged))

    def _written_at(self) -> tuple[int, int] | None:
        """Return time (nanoseconds) and size (bytes) of the write-ahead log; None if there is none."""
        try:
            found = os.stat(self._log)  # noqa: PTH116  a Path costs as much as the call
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


class _GroupConsumer:
    """Consumer of the partitions of a group that this process holds."""

    def __init__(self, broker: EmbeddedBroker, group: str, owner: str, wakeup: asyncio.Event) -> None:
        self._broker = broker
        self._group = group
        self._owner = owner
        self._wakeup = wakeup
        self._held: frozenset[int] = frozenset()
        self._pending: dict[int, Message] = {}
        self._bytes = 0
        self._handled: list[int] = []
        self._after = 0
        self._renew_at = monotonic()

    async def run(self, dispatcher: KeyedDispatcher) -> None:
        """Deliver messages until cancelled."""
        while True:
            self._wakeup.clear()
            if monotonic() >= self._renew_at:
                await self._renew(dispatcher)
            await self.acknowledge()
            if not await self._fetch(dispatcher) and not self._handled:
                await wait_for_event(self._wakeup, self._renew_at - monotonic())

    async def _renew(self, dispatcher: KeyedDispatcher) -> None:
        """Renew the leases, take free partitions, and give up surplus partitions that other processes should have."""
        share = await self._broker.run(BrokerFile.share, self._group, self._owner, _LEASE)
        self._renew_at = monotonic() + (_LEASE / 2 if share.members == 1 else _LEASE / 5)
        remaining = share.held - share.surplus
        lost = self._held - remaining
        if remaining - self._held:
            self._after = 0  # a newly taken partition may have older messages
        self._held = remaining
        if lost:
            await dispatcher.withdraw(lost)
            for number, message in list(self._pending.items()):
                if partition_of(message.key) in lost:
                    self._forget(number)
            await self.acknowledge()
        if share.surplus:
            await self._broker.run(BrokerFile.give_up, self._group, self._owner, share.surplus)

    async def _fetch(self, dispatcher: KeyedDispatcher) -> bool:
        """Deliver the next messages. Return whether there were any. Skip messages that are already in progress here."""
        room, room_for_bytes = _PREFETCH - len(self._pending), _PREFETCH_BYTES - self._bytes
        if not self._held or room <= 0 or room_for_bytes <= 0:
            return False
        known = {*self._pending, *self._handled}
        held = sorted(self._held)
        found = await self._broker.run(BrokerFile.after, self._group, self._after, room, room_for_bytes, held)
        for number, message in found:
            self._after = number
            if number not in known:
                self._pending[number] = message
                self._bytes += len(message.body)
                dispatcher.add(message, partial(self._on_handled, number))
        return bool(found)

    async def _on_handled(self, number: int) -> None:
        self._forget(number)
        self._handled.append(number)
        self._wakeup.set()

    def _forget(self, number: int) -> None:
        message = self._pending.pop(number, None)
        if message is not None:
            self._bytes -= len(message.body)

    async def acknowledge(self) -> None:
        if self._handled:
            handled, self._handled = self._handled, []
            await self._broker.run(BrokerFile.remove, handled)
