"""Rules of stock: a ledger of entries, stock levels and reservations.

`on_hand` is the sum of the ledger entries of kinds ON_HAND, `reserved` the sum of kinds RESERVED. Only an entry changes a
level. Available stock is `on_hand - reserved`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from portico.contracts.catalog import ProductId, ReservationId, ReservationStatus, StockKind
from portico.kit import Identifier
from portico.services.catalog.errors import ProductNotFound
from portico.services.catalog.stock.errors import (
    InsufficientStock,
    ReservationDiffers,
    ReservationExpired,
    ReservationNotConfirmed,
    ReservationNotFound,
    ReservationNotShipped,
    ReservationReleased,
    ReservationShipped,
    Shortage,
    TooMuchStock,
)

ON_HAND: Final = frozenset[StockKind]({"receipt", "adjustment", "shipment", "return"})
RESERVED: Final = frozenset[StockKind]({"reservation", "release", "shipment"})
MAX_ON_HAND: Final = 1_000_000_000

HOLDING: Final = frozenset[ReservationStatus]({"reserved", "confirmed"})
"""Statuses in which a reservation holds stock."""


class TransactionId(Identifier, prefix="stx"):
    """Identifies a ledger entry."""


class Entry(NamedTuple):
    """A ledger entry: one change of a product's stock. `number` counts the product's entries from 1.

    `quantity` is negative for shipments, releases and reducing adjustments.
    """

    transaction_id: TransactionId
    product_id: ProductId
    number: int
    kind: StockKind
    quantity: int
    on_hand_after: int
    reserved_after: int
    reference: str | None
    actor: str
    reason: str | None
    note: str | None
    created_at: datetime


@dataclass(slots=True)
class Level:
    """Stock level of a product. The level of a deleted product is closed; its reservations can still be shipped."""

    product_id: ProductId
    on_hand: int = 0
    reserved: int = 0
    entries: int = 0
    updated_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved

    @property
    def for_sale(self) -> int:
        """The quantity that can still be reserved."""
        return 0 if self.closed_at is not None else self.available

    def record(
        self,
        kind: StockKind,
        quantity: int,
        *,
        now: datetime,
        actor: str,
        reference: str | None = None,
        reason: str | None = None,
        note: str | None = None,
    ) -> Entry:
        """Create a ledger entry and update the level. Raises InsufficientStock, TooMuchStock without changing anything."""
        on_hand = self.on_hand + (quantity if kind in ON_HAND else 0)
        reserved = self.reserved + (quantity if kind in RESERVED else 0)
        if not 0 <= reserved <= on_hand:
            raise InsufficientStock(items=[self.shortage(abs(quantity))])
        if on_hand > MAX_ON_HAND:
            raise TooMuchStock(product_id=self.product_id, limit=MAX_ON_HAND)
        self.on_hand, self.reserved = on_hand, reserved
        self.entries += 1
        # Clocks differ between processes. Times must not decrease with entry numbers, because ?at= uses both.
        self.updated_at = now if self.updated_at is None else max(now, self.updated_at)
        return Entry(
            transaction_id=TransactionId.new(),
            product_id=self.product_id,
            number=self.entries,
            kind=kind,
            quantity=quantity,
            on_hand_after=on_hand,
            reserved_after=reserved,
            reference=reference,
            actor=actor,
            reason=reason,
            note=note,
            created_at=self.updated_at,
        )

    def shortage(self, requested: int) -> Shortage:
        return Shortage(product_id=self.product_id, requested=requested, available=self.for_sale)


@dataclass(slots=True)
class Reservation:
    """A reservation of items: all of them or none.

    `known` says whether it is stored already; `changed` whether it has to be written.
    """

    reservation_id: ReservationId
    status: ReservationStatus
    items: dict[ProductId, int]
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    known: bool = True
    changed: bool = False

    def change_to(self, status: ReservationStatus, *, now: datetime, expires_at: datetime | None = None) -> None:
        self.status, self.expires_at, self.updated_at, self.changed = status, expires_at, now, True


@dataclass(slots=True)
class StockBatch:
    """The locked levels and reservations of a batch of requests, and the entries that the requests create.

    Args:
        levels: of all products in the batch that exist.
        reservations: those that are stored.
        now: the time, in UTC.
    """

    levels: dict[ProductId, Level]
    reservations: dict[ReservationId, Reservation]
    now: datetime
    entries: list[Entry] = field(default_factory=list)

    def reserve(
        self, reservation_id: ReservationId, items: Mapping[ProductId, int], *, lasting: timedelta, actor: str
    ) -> Reservation:
        """Reserve `items` for at most `lasting`, until they are confirmed. A repeated call changes nothing.

        Raises:
            ProductNotFound: a product does not exist.
            InsufficientStock: the stock of a product is too small.
            ReservationDiffers: the id belongs to other items.
            ReservationReleased: the id was released, possibly before it was reserved.
        """
        found = self.reservations.get(reservation_id)
        if found is None:
            self._hold(reservation_id, items, actor)
            found = self._new(reservation_id, "reserved", items, expires_at=self.now + lasting)
        elif found.status == "released":
            raise ReservationReleased(reservation_id=reservation_id)
        elif found.items != items:
            raise ReservationDiffers(reservation_id=reservation_id)
        elif found.status == "expired":
            self._hold(reservation_id, items, actor)
            found.change_to("reserved", now=self.now, expires_at=self.now + lasting)
        return found

    def confirm(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Confirm a reservation, so that it no longer expires. An expired one is renewed if the stock suffices.

        Raises:
            ReservationNotFound: the reservation does not exist.
            ReservationReleased: it was released.
            ReservationExpired: it expired, and the stock is insufficient.
        """
        found = self._get(reservation_id)
        if found.status == "released":
            raise ReservationReleased(reservation_id=reservation_id)
        if found.status == "expired":
            try:
                self._hold(reservation_id, found.items, actor)
            except InsufficientStock as short:
                raise ReservationExpired(reservation_id=reservation_id, items=short.items) from short
        if found.status in {"reserved", "expired"}:
            found.change_to("confirmed", now=self.now)
        return found

    def release(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Release a reservation. An unknown id is stored as released, so that a late reserve fails. Raises ReservationShipped."""
        found = self.reservations.get(reservation_id)
        if found is None:
            return self._new(reservation_id, "released", {}, expires_at=None)
        if found.status in {"shipped", "returned"}:
            raise ReservationShipped(reservation_id=reservation_id)
        if found.status != "released":
            self._free(found, "released", actor=actor)
        return found

    def expire(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Expire a reservation that was not confirmed in time. Raises ReservationNotFound."""
        found = self._get(reservation_id)
        if found.status == "reserved" and found.expires_at is not None and found.expires_at <= self.now:
            self._free(found, "expired", actor=actor, reason="expired")
        return found

    def ship(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Ship a confirmed reservation: take its items out of stock. Raises ReservationNotFound, ReservationReleased, ReservationNotConfirmed."""
        found = self._get(reservation_id)
        if found.status == "released":
            raise ReservationReleased(reservation_id=reservation_id)
        if found.status in {"reserved", "expired"}:
            raise ReservationNotConfirmed(reservation_id=reservation_id)
        if found.status == "confirmed":
            for product_id, quantity in found.items.items():
                self._record(product_id, "shipment", -quantity, actor=actor, reference=reservation_id)
            found.change_to("shipped", now=self.now)
        return found

    def return_items(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Return a shipped reservation: put its items back into stock. Raises ReservationNotFound, ReservationNotShipped, TooMuchStock."""
        found = self._get(reservation_id)
        if found.status not in {"shipped", "returned"}:
            raise ReservationNotShipped(reservation_id=reservation_id)
        if found.status == "shipped":
            for product_id, quantity in found.items.items():
                if self.levels[product_id].on_hand + quantity > MAX_ON_HAND:
                    raise TooMuchStock(product_id=product_id, limit=MAX_ON_HAND)
            for product_id, quantity in found.items.items():
                self._record(product_id, "return", quantity, actor=actor, reference=reservation_id)
            found.change_to("returned", now=self.now)
        return found

    def shortages(self, items: Iterable[tuple[ProductId, int]]) -> list[Shortage]:
        """Return the items whose stock is too small. Raises ProductNotFound."""
        found = []
        for product_id, quantity in items:
            level = self.levels.get(product_id)
            if level is None:
                raise ProductNotFound(product_id=product_id)
            if level.for_sale < quantity:
                found.append(level.shortage(quantity))
        return found

    def _hold(self, reservation_id: ReservationId, items: Mapping[ProductId, int], actor: str) -> None:
        """Reserve all items or none. Raises ProductNotFound, InsufficientStock."""
        if short := self.shortages(items.items()):
            raise InsufficientStock(items=short)
        for product_id, quantity in items.items():
            self._record(product_id, "reservation", quantity, actor=actor, reference=reservation_id)

    def _free(self, found: Reservation, status: ReservationStatus, *, actor: str, reason: str | None = None) -> None:
        if found.status in HOLDING:
            for product_id, quantity in found.items.items():
                self._record(
                    product_id, "release", -quantity, actor=actor, reference=found.reservation_id, reason=reason
                )
        found.change_to(status, now=self.now)

    def _record(
        self,
        product_id: ProductId,
        kind: StockKind,
        quantity: int,
        *,
        actor: str,
        reference: str,
        reason: str | None = None,
    ) -> None:
        level = self.levels[product_id]
        self.entries.append(level.record(kind, quantity, now=self.now, actor=actor, reference=reference, reason=reason))

    def _get(self, reservation_id: ReservationId) -> Reservation:
        found = self.reservations.get(reservation_id)
        if found is None:
            raise ReservationNotFound(reservation_id=reservation_id)
        return found

    def _new(
        self,
        reservation_id: ReservationId,
        status: ReservationStatus,
        items: Mapping[ProductId, int],
        *,
        expires_at: datetime | None,
    ) -> Reservation:
        created = Reservation(
            reservation_id,
            status,
            dict(items),
            expires_at=expires_at,
            created_at=self.now,
            updated_at=self.now,
            known=False,
            changed=True,
        )
        self.reservations[reservation_id] = created
        return created
