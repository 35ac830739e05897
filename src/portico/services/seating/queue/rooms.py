"""The waiting rooms of this process: one task processes the queues and informs the readers of all streams once a second."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from portico.contracts.events import ShowId
from portico.kit import ServiceContext, get_logger
from portico.kit.http import EventStreams, StreamReader, format_event
from portico.services.seating.admission import Admissions
from portico.services.seating.errors import EventNotFound
from portico.services.seating.queue.domain import Entry, Limits, QueueState
from portico.services.seating.queue.repository import active_queues, admitted_among, holders_without_admission, state_of
from portico.services.seating.queue.schemas import QueueEntryRead
from portico.services.seating.queue.writer import QueueWriter, limits_of
from portico.services.seating.settings import SeatingSettings

logger = get_logger(__name__)

_PERIOD: Final = 1.0  # seconds
_IDLE_PERIOD: Final = 5.0  # seconds, while no queue is in use
_AT_ONCE: Final = 256  # readers between which other tasks run, and numbers in one query
_MAX_STATES: Final = 1_000
_EVENTS_OF_EACH: Final = 100
"""The user at position p gets the next estimate after p / 100 seconds: the first hundred every second."""
_SLOWEST: Final = 30.0  # seconds
_ENDED: Final = format_event("{}", event="ended")


@dataclass(slots=True)
class Follower:
    """What a stream has shown of an entry: the position, and when it may show the next one (loop's time)."""

    entry: Entry
    position: int
    due_at: float


class WaitingRooms:
    """Processes queues, and computes the positions of users from the numbers of the entries and the state of the queue.

    Args:
        context: the service.
        writer: changes queues.
        streams: the event streams of the service.
        admissions: makes admission tokens.
        limits: the settings.
    """

    def __init__(
        self,
        context: ServiceContext,
        writer: QueueWriter,
        streams: EventStreams,
        admissions: Admissions,
        limits: Limits,
    ) -> None:
        self._context = context
        self._writer = writer
        self._streams = streams
        self._admissions = admissions
        self._limits = limits
        self._states: dict[ShowId, tuple[float, QueueState | None]] = {}
        self._reading = asyncio.Lock()
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """Process the queues now if none was in use, otherwise within a second."""
        self._wakeup.set()

    async def run(self) -> None:
        """Process queues and inform readers until the service stops."""
        while True:
            self._wakeup.clear()
            is_idle = True
            try:
                is_idle = not await self.run_once() and not self._streams.groups
            except Exception:
                logger.exception("waiting_room_failed", service=self._context.name)
            if not is_idle:
                await asyncio.sleep(_PERIOD)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wakeup.wait(), _IDLE_PERIOD)

    async def run_once(self) -> bool:
        """Process the queues that are due and inform all readers. Return whether a queue is in use."""
        now = self._context.clock.now()
        async with self._context.reader() as reader:
            active = await active_queues(reader)
            holders = await holders_without_admission(reader)
        self._writer.replace_holders(holders)
        self._admissions.crowded = self._crowded(active, holders)
        for each in active:
            if each.due_at <= now:
                await self._writer.advance(each.show_id)
        for group in self._streams.groups:
            if (show_id := _show_of(group)) is not None:
                await self._inform(show_id, group)
        return bool(active or holders)

    async def state(self, show_id: ShowId, *, after: int) -> QueueState | None:
        """Return the state of a queue as of a second ago at most. Raises EventNotFound.

        Args:
            show_id: the show.
            after: number of an entry that the state must contain.
        """
        async with self._reading:
            now = self._context.clock.monotonic()
            known = self._states.get(show_id)
            if known is not None and now - known[0] < _PERIOD:
                state = known[1]
                if state is not None and state.queue.last_number >= after:
                    return state
            return await self._read(show_id)

    def forget(self, show_id: ShowId) -> None:
        """Read the state of a queue from the database the next time: this process has changed it."""
        self._states.pop(show_id, None)

    def view(self, entry: Entry, position: int, state: QueueState) -> QueueEntryRead:
        """Return what a user sees of an entry."""
        is_waiting, until = entry.status == "WAITING", entry.admitted_until
        now = self._context.clock.now()
        return QueueEntryRead(
            queue_id=entry.queue_id,
            event_id=entry.show_id,
            number=entry.number,
            position=position if is_waiting else 0,
            status="WAITING" if is_waiting else "ADMITTED",
            estimated_seconds=state.queue.estimated_seconds(position, state.sale, self._limits, now)
            if is_waiting
            else 0,
            joined_at=entry.joined_at,
            admission_token=None if until is None else self._admissions.token(entry.show_id, entry.user_id, until),
            admitted_until=until,
        )

    def greet(self, reader: StreamReader, state: QueueState) -> None:
        """Send the first event of a stream."""
        follower: Follower = reader.key
        self._send(reader, follower, state)

    def _crowded(self, active: Iterable[Any], holders: Mapping[ShowId, int]) -> frozenset[ShowId]:
        """Return the shows in mode AUTO whose waiting room is on: users wait, or more than the limit shop."""
        shoppers = Counter(holders)
        waiting = set()
        for each in active:
            if each.waiting_room == "AUTO":
                shoppers[each.show_id] += each.shopping
                if each.waiting:
                    waiting.add(each.show_id)
        return frozenset(waiting | {show for show, count in shoppers.items() if count > self._limits.shoppers})

    # Readers

    async def _inform(self, show_id: ShowId, group: str) -> None:
        readers = self._streams.readers(group)
        try:
            state = await self._read(show_id)
        except EventNotFound:
            state = None
        if state is None or state.sale.is_over:
            await self._end(readers)
            return
        await self._inform_admitted(show_id, readers, state)
        now, time = self._context.clock.now(), self._streams.loop.time()
        for number, reader in enumerate(readers, start=1):
            follower: Follower = reader.key
            entry = follower.entry
            if entry.status != "WAITING":
                if entry.admitted_until is not None and entry.admitted_until <= now:
                    await self._end([reader])
            elif state.has_left(entry.number):
                await self._end([reader])
            elif follower.due_at <= time and (position := state.position(entry.number)) != follower.position:
                follower.position = position
                self._send(reader, follower, state)
            if not number % _AT_ONCE:
                await asyncio.sleep(0)

    async def _inform_admitted(self, show_id: ShowId, readers: Iterable[StreamReader], state: QueueState) -> None:
        """Tell those who were admitted since the last time."""
        through = state.queue.admitted_through
        passed = [each for each in readers if each.key.entry.status == "WAITING" and each.key.entry.number <= through]
        for start in range(0, len(passed), _AT_ONCE):
            some = passed[start : start + _AT_ONCE]
            async with self._context.reader() as reader:
                admitted = await admitted_among(reader, show_id, {each.key.entry.number for each in some})
            for each in some:
                entry = admitted.get(each.key.entry.number)
                if entry is None:
                    await self._end([each])
                else:
                    each.key.entry, each.key.position = entry, 0
                    self._send(each, each.key, state)

    def _send(self, reader: StreamReader, follower: Follower, state: QueueState) -> None:
        wait = min(_SLOWEST, max(_PERIOD, follower.position / _EVENTS_OF_EACH))
        follower.due_at = self._streams.loop.time() + wait - _PERIOD / 2  # the task may be a little early
        reader.send(self._streams.encode(self.view(follower.entry, follower.position, state)))

    async def _end(self, readers: Iterable[StreamReader]) -> None:
        for number, reader in enumerate(readers, start=1):
            reader.send(_ENDED)
            reader.close()
            if not number % _AT_ONCE:
                await asyncio.sleep(0)

    async def _read(self, show_id: ShowId) -> QueueState | None:
        async with self._context.reader() as reader:
            state = await state_of(reader, show_id)
        if len(self._states) >= _MAX_STATES:
            self._states.clear()
        self._states[show_id] = self._context.clock.monotonic(), state
        return state


def group_of(show_id: ShowId) -> str:
    """Return the group of the streams of a show's queue."""
    return f"queue:{int(show_id)}"


def _show_of(group: str) -> ShowId | None:
    kind, _, number = group.partition(":")
    return ShowId(int(number)) if kind == "queue" else None


@asynccontextmanager
async def open_waiting_rooms(context: ServiceContext) -> AsyncIterator[WaitingRooms]:
    """Open the waiting rooms of the service."""
    yield WaitingRooms(
        context,
        context.resource(QueueWriter),
        context.resource(EventStreams),
        context.resource(Admissions),
        limits_of(context.settings_of(SeatingSettings)),
    )


async def run_waiting_rooms(context: ServiceContext) -> None:
    """Process queues while the service runs."""
    await context.resource(WaitingRooms).run()
