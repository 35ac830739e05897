"""Event streams with many readers: server-sent events (WHATWG HTML, section "Server-sent events").

A reader costs its connection and a small object, about 5 KB. It needs no task, timer or query. The service writes the
same bytes to all readers of a group, or an event to a single reader. A client's `EventSource` reconnects automatically.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

import orjson
from pydantic import BaseModel

from portico.kit.auth.access import Access
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import VerificationUnavailable
from portico.kit.foundation.problems import Problem
from portico.kit.foundation.shares import Shares
from portico.kit.foundation.stream_connection import StreamConnection
from portico.kit.http.authentication import Authentication
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

MAX_UNREAD: Final = 16_384
"""Unread bytes at which a reader is disconnected, in addition to the buffers of the operating system."""

_KEEP_ALIVE = b":\n\n"
_AT_ONCE = 256
"""Number of writes or access checks after which other tasks of the process run."""
_RECHECKS_PER_SECOND = 500
_RECONNECT_MS = (
    1000  # minimum; up to four more seconds are added, so that clients of a stopping service do not reconnect together
)


def format_event(data: str, *, event: str | None = None, event_id: str | None = None) -> bytes:
    """Return one event of a stream.

    Args:
        data: the data; several lines are sent as such.
        event: type of the event; None is `message`.
        event_id: value that the client sends as `Last-Event-ID` when it reconnects.

    Raises:
        ValueError: the type or the id contains a line break, or the id contains NUL.
    """
    lines = []
    for name, value in (("id", event_id), ("event", event)):
        if value is None:
            continue
        if len(value.splitlines()) > 1 or value.endswith(("\r", "\n")) or "\0" in value:
            raise ValueError(f"the {name} of an event is one line: {value!r}")
        lines.append(f"{name}: {value}\n")
    normalized = data.replace("\r\n", "\n").replace("\r", "\n")
    lines.extend(f"data: {line}\n" for line in normalized.split("\n"))
    return ("".join(lines) + "\n").encode()


class StreamReader:
    """One open event stream.

    Attributes:
        group: the group that it belongs to.
        key: what the endpoint attached to it.
    """

    __slots__ = ("_authorization", "_caller", "_connection", "_streams", "group", "key", "wrote_at")

    def __init__(
        self, streams: "EventStreams", group: str, key: Any, *, caller: str, authorization: "_Authorization | None"
    ) -> None:
        self.group = group
        self.key = key
        self.wrote_at = 0.0
        self._streams = streams
        self._caller = caller
        self._authorization = authorization
        self._connection: StreamConnection | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def send(self, event: bytes) -> None:
        """Send an event. If the reader has too many unread bytes, disconnect it instead."""
        connection = self._connection
        if connection is None:
            return
        if connection.unread > MAX_UNREAD:
            self._streams.dropped += 1
            connection.abort()
            return
        self.wrote_at = self._streams.loop.time()
        connection.write(event)

    def close(self) -> None:
        """End the stream. The client reconnects."""
        if self._connection is not None:
            self._connection.end()

    def take(self, connection: StreamConnection | None) -> bool:
        """Take over the connection, or None if the server keeps it. Return whether the server has handed it over."""
        self._connection = connection
        return connection is not None

    async def recheck(self) -> None:
        """End the stream if its caller has lost access."""
        if self._authorization is None or not self.is_open:
            return
        authentication, access = self._authorization
        try:
            await authentication.recheck(access)
        except VerificationUnavailable:
            logger.info("stream_recheck_failed", service=self._streams.name)
        except (InvalidToken, Problem):
            self.close()

    # Callbacks of the connection

    def connection_lost(self) -> None:
        self._connection = self._authorization = None
        self._streams.remove(self, self._caller)

    def pause_writing(self) -> None:
        """Do nothing: `send` limits the unread bytes."""

    def resume_writing(self) -> None:
        """Do nothing."""


_Authorization = tuple[Authentication, Access]


class EventStreams:
    """The event streams of a service in this process, by group. It is a resource of the service.

    It sends comments to idle readers, so that proxies keep their connections. It checks the readers' access again at
    intervals, and ends all streams when the service stops.

    Args:
        context: the service's context.
    """

    def __init__(self, context: ServiceContext) -> None:
        self.name = context.name
        self.loop = asyncio.get_running_loop()
        self.dropped = 0
        self._context = context
        self._keep_alive = context.settings.stream_keep_alive
        self._recheck = context.settings.stream_recheck
        self._groups: dict[str, dict[StreamReader, None]] = {}
        self._idle: deque[StreamReader] = deque()
        self._due: deque[tuple[float, StreamReader]] = deque()
        self._shares: Shares | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        context.metrics.gauge("portico_event_streams", "Open event streams", self._count)
        context.metrics.counter(
            "portico_event_streams_dropped", "Event streams whose readers were too slow", lambda: self.dropped
        )

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._run(), name="keep-alive of event streams"),
            asyncio.create_task(self._recheck_access(), name="access of event streams"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def readers(self, group: str) -> Collection[StreamReader]:
        """Return the open streams of a group, oldest first."""
        return tuple(self._groups.get(group, ()))

    @property
    def groups(self) -> Collection[str]:
        """The groups that have readers."""
        return tuple(self._groups)

    def encode(self, message: BaseModel | dict[str, Any], **options: str | None) -> bytes:
        """Return an event with `message` as JSON in the system's case. `options` are passed to `format_event`."""
        if isinstance(message, BaseModel):
            message = message.model_dump(mode="json", by_alias=self._context.system.case == "camel")
        return format_event(orjson.dumps(message).decode(), **options)

    async def publish(self, group: str, event: bytes) -> None:
        """Send the same event to all readers of a group. Other tasks run in between."""
        for number, reader in enumerate(self.readers(group), start=1):
            reader.send(event)
            if not number % _AT_ONCE:
                await asyncio.sleep(0)

    # Streams

    def add(self, reader: StreamReader, caller: str, shares: Shares) -> None:
        """Add a reader that has a connection."""
        self._shares = shares
        shares.resume(caller)
        self._groups.setdefault(reader.group, {})[reader] = None
        reader.wrote_at = self.loop.time()
        self._idle.append(reader)
        self._due.append((self.loop.time() + self._recheck, reader))
        if self._closed:
            reader.close()

    def remove(self, reader: StreamReader, caller: str) -> None:
        """Remove a reader whose connection is lost."""
        readers = self._groups.get(reader.group)
        if readers is None or reader not in readers:
            return  # the connection was lost before the reader was added
        del readers[reader]
        if not readers:
            del self._groups[reader.group]
        if self._shares is not None:
            self._shares.release(caller)

    def _count(self) -> int:
        return sum(len(readers) for readers in self._groups.values())

    async def _run(self) -> None:
        stopping = self._context.stopping
        pause = min(1.0, self._keep_alive / 2)
        while not stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)
            await self._send_comments()
        self._close()

    async def _send_comments(self) -> None:
        """Send a comment to readers that received nothing for STREAM_KEEP_ALIVE."""
        for number in range(1, len(self._idle) + 1):
            reader = self._idle.popleft()
            if not reader.is_open:
                continue
            if reader.wrote_at + self._keep_alive <= self.loop.time():
                reader.send(_KEEP_ALIVE)
            self._idle.append(reader)
            if not number % _AT_ONCE:
                await asyncio.sleep(0)

    async def _recheck_access(self) -> None:
        """Check every reader's access again at intervals. The interval grows with the number of readers."""
        while True:
            await asyncio.sleep(min(1.0, self._recheck))
            for _ in range(_RECHECKS_PER_SECOND):
                if not self._due or self._due[0][0] > self.loop.time():
                    break
                _, reader = self._due.popleft()
                await reader.recheck()
                if reader.is_open:
                    self._due.append((self.loop.time() + self._recheck, reader))

    def _close(self) -> None:
        self._closed = True
        for group in self.groups:
            for reader in self.readers(group):
                reader.send(b"retry: %d\n\n" % (_RECONNECT_MS + random.getrandbits(12)))
                reader.close()


@asynccontextmanager
async def open_event_streams(context: ServiceContext) -> AsyncIterator[EventStreams]:
    """Open the event streams of a service: `resources={EventStreams: open_event_streams}`."""
    async with EventStreams(context) as streams:
        yield streams
