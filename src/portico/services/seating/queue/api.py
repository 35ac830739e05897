from typing import Annotated, Any

from fastapi import Response

from portico.contracts.events import ShowId
from portico.kit import InvalidCursor, NumberedPage, Reads, Router, SignedIn, Slice, inject, numbered_list
from portico.kit.http import EventStream, EventStreamRequest
from portico.services.seating.errors import EventNotFound, NotInQueue, QueueNotOpen, SaleClosed, SoldOut
from portico.services.seating.queue import repository
from portico.services.seating.queue.domain import Entry, QueueState
from portico.services.seating.queue.rooms import Follower, WaitingRooms, group_of
from portico.services.seating.queue.schemas import LedgerRead, QueueEntryRead
from portico.services.seating.queue.writer import QueueWriter

router = Router(prefix="/queue", tags=["queue"], description="Waiting rooms of shows that many want to see")

Rooms = Annotated[WaitingRooms, inject(WaitingRooms)]
Writer = Annotated[QueueWriter, inject(QueueWriter)]


@router.post(
    "/{event_id}",
    status_code=201,
    response_model=QueueEntryRead,
    stores_response=False,
    framework={"responses": {200: {"model": QueueEntryRead, "description": "The caller is in the queue already"}}},
    errors=[EventNotFound, QueueNotOpen, SaleClosed, SoldOut],
)
async def join_queue(
    event_id: ShowId, caller: SignedIn, writer: Writer, rooms: Rooms, response: Response
) -> QueueEntryRead:
    """Join the waiting room of a show. A user who is in it already keeps the place; the status is 200."""
    entry, position = await writer.join(event_id, caller.user_id)
    rooms.forget(event_id)
    rooms.wake()
    if position is None:
        response.status_code = 200
    state = await _state(rooms, entry)
    return rooms.view(entry, state.position(entry.number) if position is None else position, state)


@router.get(
    "/{event_id}",
    streams=True,
    response_model=QueueEntryRead,
    framework={"responses": {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}},
    errors=[EventNotFound, NotInQueue],
)
async def read_queue(
    event_id: ShowId, caller: SignedIn, reads: Reads, rooms: Rooms, stream: EventStreamRequest
) -> QueueEntryRead | EventStream:
    """Return the caller's place in the waiting room, or stream its changes to a client that accepts `text/event-stream`."""
    entry = await repository.find_entry(reads, event_id, caller.user_id)
    if entry is None:
        await repository.sale_of(reads, event_id)
        raise NotInQueue(event_id=event_id)
    state = await _state(rooms, entry)
    position = state.position(entry.number)
    if not stream.is_wanted:
        return rooms.view(entry, position, state)
    follower = Follower(entry, position, 0.0)
    rooms.wake()
    return stream.open(group_of(event_id), lambda reader: rooms.greet(reader, state), key=follower)


@router.delete("/{event_id}", status_code=204, errors=[EventNotFound])
async def leave_queue(event_id: ShowId, caller: SignedIn, writer: Writer, rooms: Rooms) -> None:
    """Leave the waiting room, or end an admission."""
    await writer.leave(event_id, caller.user_id)
    rooms.forget(event_id)
    rooms.wake()


@router.get(
    "/{event_id}/ledger", response_model=numbered_list("entries", LedgerRead), errors=[EventNotFound, InvalidCursor]
)
async def read_ledger(event_id: ShowId, reads: Reads, page: NumberedPage) -> Slice[Any]:
    """Return the ledger of the waiting room: who joined, was admitted or left, in order, as a hash chain."""
    await repository.sale_of(reads, event_id)
    return await repository.ledger_page(reads, event_id, page)


async def _state(rooms: WaitingRooms, entry: Entry) -> QueueState:
    state = await rooms.state(entry.show_id, after=entry.number)
    if state is None:
        raise LookupError(f"the queue of show {entry.show_id} has entries and no row")
    return state
