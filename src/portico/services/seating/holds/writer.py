"""The process's single writer of places, which commits the requests of many callers in groups."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Problem, ServiceContext, UnitOfWork, UserId
from portico.kit.data import GroupCommit
from portico.services.seating.admission import Admissions
from portico.services.seating.codes.domain import CodeAttempts
from portico.services.seating.errors import CodeUnknown
from portico.services.seating.holds import claims
from portico.services.seating.holds.batch import HoldBatch
from portico.services.seating.holds.claims import SoldPlaceKey
from portico.services.seating.holds.domain import Hold, Wanted
from portico.services.seating.holds.halls import Halls
from portico.services.seating.holds.service import BatchFollower, Change, change_holds
from portico.services.seating.settings import SeatingSettings


class HoldWriter:
    """Changes the places of shows for many callers in few transactions. Each call can be repeated safely.

    Each method raises what the rule of the same name raises, EventNotFound for an unknown show, and Unavailable
    when the queue is full.
    """

    def __init__(
        self,
        group: GroupCommit[Change, Any],
        admissions: Admissions,
        attempts: CodeAttempts,
        *,
        lasting: timedelta,
        grace: timedelta,
    ) -> None:
        self._group = group
        self._admissions = admissions
        self._attempts = attempts
        self._lasting = lasting
        self._grace = grace
        self.requests = 0
        """Number of changes that users and services have asked for."""

    async def take(
        self,
        show_id: ShowId,
        hold_id: HoldId,
        user_id: UserId,
        wanted: Wanted,
        *,
        admission: str | None,
        is_new: bool = False,
    ) -> Hold:
        """Hold places for a user. Raises TooManyRequests too, if the user has tried too many unknown codes.

        Args:
            show_id: the show.
            hold_id: the id of the new hold.
            user_id: the user.
            wanted: the places.
            admission: the user's token of the waiting room, if there is one.
            is_new: whether the id was generated for this call.
        """
        act = partial(
            HoldBatch.take,
            hold_id=hold_id,
            user_id=user_id,
            wanted=wanted,
            lasting=self._lasting,
            check_admission=partial(self._admissions.require, user_id=user_id, token=admission),
        )
        change = Change(show_id, act, [hold_id], taker=user_id, code=wanted.code, is_new=is_new)
        if wanted.code is None:
            return await self._hold(change)
        self._attempts.check(user_id)
        try:
            return await self._hold(change)
        except CodeUnknown:
            self._attempts.record(user_id)
            raise

    async def release(self, show_id: ShowId, hold_id: HoldId, user_id: UserId) -> Hold:
        """Give the places of a user's hold back."""
        act = partial(HoldBatch.release, hold_id=hold_id, user_id=user_id)
        return await self._hold(Change(show_id, act, [hold_id]))

    async def claim(self, show_id: ShowId, hold_id: HoldId, *, booking_id: BookingId, user_id: UserId) -> Hold:
        """Claim a hold for a booking."""
        act = partial(claims.claim, hold_id=hold_id, booking_id=booking_id, user_id=user_id)
        return await self._hold(Change(show_id, act, [hold_id]))

    async def release_claim(self, show_id: ShowId, hold_id: HoldId, *, booking_id: BookingId, keep: bool) -> Hold:
        """Give a claimed hold back."""
        act = partial(claims.release_claim, hold_id=hold_id, booking_id=booking_id, keep=keep, grace=self._grace)
        return await self._hold(Change(show_id, act, [hold_id]))

    async def sell(self, show_id: ShowId, hold_id: HoldId, *, booking_id: BookingId) -> Hold:
        """Mark the places of a claimed hold as sold."""
        return await self._hold(
            Change(show_id, partial(claims.sell, hold_id=hold_id, booking_id=booking_id), [hold_id])
        )

    async def return_places(
        self, show_id: ShowId, hold_id: HoldId, *, booking_id: BookingId, key: str, places: Sequence[SoldPlaceKey]
    ) -> Hold:
        """Return sold places of a booking."""
        act = partial(claims.return_places, hold_id=hold_id, booking_id=booking_id, key=key, places=places)
        return await self._hold(Change(show_id, act, [hold_id]))

    async def set_blocked(self, show_id: ShowId, seats: Sequence[str], *, blocked: bool) -> None:
        """Block free seats of the house, or free them."""
        self.requests += 1
        await self._group.submit(Change(show_id, partial(HoldBatch.set_blocked, seats=seats, blocked=blocked)))

    async def expire(self, show_id: ShowId, hold_ids: Collection[HoldId]) -> int:
        """Free the places of holds whose time is over. Return how many holds ended."""
        ended: int = await self._group.submit(Change(show_id, partial(HoldBatch.expire, hold_ids=hold_ids), hold_ids))
        return ended

    async def _hold(self, change: Change) -> Hold:
        self.requests += 1
        hold: Hold = await self._group.submit(change)
        return hold


@asynccontextmanager
async def open_hold_writer(
    context: ServiceContext, *, follower_of: Callable[[ServiceContext], BatchFollower]
) -> AsyncIterator[HoldWriter]:
    """Open the writer. Changes that wait when the service stops are still written.

    Args:
        context: the service.
        follower_of: returns what follows the changes.
    """
    settings = context.settings_of(SeatingSettings)
    halls, follower = Halls(limit=settings.cached_halls), follower_of(context)

    async def apply(work: UnitOfWork, changes: Sequence[Change]) -> Sequence[Any | Problem]:
        return await change_holds(work, changes, halls, max_seats=settings.max_seats_per_user, follower=follower)

    group = GroupCommit[Change, Any](
        context.transaction, apply, max_batch=settings.hold_batch, max_waiting=settings.hold_queue
    )
    async with group:
        lasting, grace = timedelta(seconds=settings.hold_expires_in), timedelta(seconds=settings.hold_grace)
        admissions, attempts = context.resource(Admissions), CodeAttempts(context.clock)
        yield HoldWriter(group, admissions, attempts, lasting=lasting, grace=grace)
