"""The embedded drill finds bugs that are planted in a system, each by the invariant that it breaks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.drill.planting import Bug, RekeyingChannel, TrustingChannel, calling, changing, with_saga
from tests.kit.telemetry.restoring import silence

from portico.drill import DrillSettings, run_embedded
from portico.kit.sagas import Saga, Step, minutes, seconds
from portico.services.orders import service as orders
from portico.services.orders.saga import (
    PlacingState,
    confirm_stock,
    end_order,
    mark_confirmed,
    mark_paid,
    mark_reserved,
    reserve_stock,
    take_payment,
    void_payment,
)
from portico.systems.commerce import commerce
from portico.systems.ticketing import ticketing

ORDERS = DrillSettings(orders=24, seed=1, faults=("slow",), rate=0.01)
BUYERS = replace(ORDERS, seats=20)
BATCH_ITEMS = replace(ORDERS, orders=60, faults=("drop", "timeout"), rate=0.3, sites=("item",))
SEEDS = 4
"""Seeds that are tried. A bug has no effect in a run whose users never meet, for example in the waiting list."""
EVERY_MAIL = "each mail about an order is sent once"
EVERY_EVENT = "every consumer handled every event"
STOCK_HELD = "stock is held for active orders only"
NEVER_RELEASES_STOCK = Saga(
    "place-order",
    PlacingState,
    Step("reserve-stock", reserve_stock, record=mark_reserved, within=seconds(10), retry=9),
    Step("take-payment", take_payment, record=mark_paid, undo=void_payment, within=seconds(30), retry=9),
    Step("confirm-stock", confirm_stock, record=mark_confirmed, within=seconds(10), retry=12),
    deadline=minutes(15),
    when_undone=end_order,
)
OF_COMMERCE = [
    Bug(
        "an inbox that forgets",
        commerce,
        replace(ORDERS, faults=("duplicate",), rate=0.05),
        frozenset({EVERY_EVENT}),
        "queue-order-mail",
        changing(
            "notifications",
            "INSERT ON inbox WHEN new.consumer = 'queue-order-mail'"
            " BEGIN DELETE FROM inbox WHERE event_id = new.event_id; END",
        ),
        history="event of",
    ),
    Bug(
        "an unpublished event",
        commerce,
        ORDERS,
        frozenset({"each change of an order or payment is published once"}),
        "order.updated was published 0 times",
        changing(
            "orders", "INSERT ON outbox WHEN new.type = 'order.updated' BEGIN DELETE FROM outbox WHERE id = new.id; END"
        ),
        also=None,
    ),
    Bug(
        "a mail that is not queued",
        commerce,
        ORDERS,
        frozenset({EVERY_MAIL}),
        "has no mail order-shipped",
        changing(
            "notifications",
            "INSERT ON notifications WHEN new.template = 'order-shipped'"
            " BEGIN DELETE FROM notifications WHERE notification_id = new.notification_id; END",
        ),
    ),
    Bug(
        "a missing compensation",
        with_saga(commerce, orders, NEVER_RELEASES_STOCK),
        ORDERS,
        frozenset({STOCK_HELD}),
        "its stock is still reserved",
        history="payment failed",
    ),
    Bug(
        "a lost charge that is recorded as done",
        commerce,
        BATCH_ITEMS,
        frozenset({"the amount kept is the total of the sold orders"}),
        "0 is kept",
        calling("orders", TrustingChannel),
        also=None,
    ),
    Bug(
        "a lost charge that is repeated under another key",
        commerce,
        BATCH_ITEMS,
        frozenset({"no order is charged twice"}),
        "the provider charged it 2 times",
        calling("orders", RekeyingChannel),
        also=None,
    ),
]
MONEY_KEPT = "the money kept is the price of the live tickets"
LEDGER_CHAINS = "the ledgers of waiting rooms are chains"
ADMITTED_IN_ORDER = "waiting rooms admit in order"
SWAP = """
    UPDATE ON waitlist_entries
    WHEN new.status = 'OFFERED' AND (SELECT max(number) FROM waitlist_entries WHERE status = 'WAITING') > new.number
    BEGIN
        UPDATE waitlist_entries
        SET number = -(SELECT max(number) FROM waitlist_entries WHERE status = 'WAITING')
        WHERE entry_id = new.entry_id;
        UPDATE waitlist_entries SET number = new.number
        WHERE number = (SELECT max(number) FROM waitlist_entries WHERE status = 'WAITING');
        UPDATE waitlist_entries SET number = -number WHERE number < 0;
    END
"""
"""The newest party gets the number of the party that has an offer, and is the next one."""
OF_TICKETING = [
    Bug(
        "a lost ticket",
        ticketing,
        BUYERS,
        frozenset({MONEY_KEPT}),
        "ticket_missing of 1-",
        changing(
            "bookings",
            "INSERT ON tickets WHEN new.place = 1 BEGIN DELETE FROM tickets WHERE ticket_id = new.ticket_id; END",
        ),
        also=None,
        history="event of",
    ),
    Bug(
        "a forgotten sale",
        ticketing,
        BUYERS,
        frozenset({"the states of places are those of holds and tickets"}),
        "ticket_surplus of 1-",
        changing(
            "inventory",
            "UPDATE ON holds WHEN new.status = 'SOLD' BEGIN UPDATE holds SET used = 0 WHERE hold_id = new.hold_id; END",
        ),
        also=None,
    ),
    Bug(
        "a changed ledger",
        ticketing,
        BUYERS,
        frozenset({LEDGER_CHAINS}),
        "",
        changing(
            "inventory",
            "INSERT ON queue_ledger WHEN new.sequence = 3 BEGIN"
            " UPDATE queue_ledger SET number = 9 WHERE show_id = new.show_id AND sequence = 3; END",
        ),
        also=frozenset({ADMITTED_IN_ORDER}),
    ),
    Bug(
        "a lost place in the waiting room",
        ticketing,
        replace(BUYERS, orders=40),
        frozenset({ADMITTED_IN_ORDER}),
        "which was not the first to wait",
        changing(
            "inventory",
            "INSERT ON queue_entries WHEN new.number = 28 AND new.status = 'WAITING' BEGIN"
            " UPDATE queue_entries SET status = 'LEFT' WHERE queue_id = new.queue_id; END",
        ),
    ),
    Bug(
        "offers out of order",
        ticketing,
        replace(BUYERS, orders=80),
        frozenset({"places are offered to the oldest party that they suffice for"}),
        "",
        changing("inventory", SWAP),
    ),
    Bug(
        "a mail that is not queued",
        ticketing,
        BUYERS,
        frozenset({"each mail about a booking, a refund or an offer is sent once"}),
        "the mail tickets to bkg_",
        changing(
            "notifications",
            "INSERT ON notifications WHEN new.template = 'tickets'"
            " BEGIN DELETE FROM notifications WHERE notification_id = new.notification_id; END",
        ),
        history="event of",
    ),
    Bug(
        "an unpublished event",
        ticketing,
        BUYERS,
        frozenset({"each change of a booking, ticket, hold, offer or payment is published once"}),
        "ticket.issued of tkt_",
        changing(
            "bookings",
            "INSERT ON outbox WHEN new.type = 'ticket.issued' BEGIN DELETE FROM outbox WHERE id = new.id; END",
        ),
    ),
    Bug(
        "a show that the index forgets",
        ticketing,
        BUYERS,
        frozenset({"the index of search equals the shows"}),
        "is missing in the live index",
        changing("search", "INSERT ON shows_a BEGIN DELETE FROM shows_a WHERE show_id = new.show_id; END"),
    ),
    Bug(
        "a lost charge that is repeated under another key",
        ticketing,
        replace(BATCH_ITEMS, seats=80),
        frozenset({"no booking is charged twice"}),
        "",
        calling("bookings", RekeyingChannel),
        also=None,
    ),
]

# A crashed service closes nothing; its connections are closed when they are collected.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with silence():
        yield


@pytest.mark.parametrize("bug", [*OF_COMMERCE, *OF_TICKETING], ids=str)
async def test_a_planted_bug_is_found(tmp_path: Path, bug: Bug) -> None:
    for seed in range(bug.drill.seed, bug.drill.seed + SEEDS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        report = await run_embedded(bug.system, replace(bug.drill, seed=seed), folder, change=bug.plant(folder))
        broken = {breach.invariant for breach in report.breaches}
        if bug.invariants <= broken:
            break

    assert bug.invariants <= broken
    assert bug.also is None or broken <= bug.invariants | bug.also
    assert any(bug.message in breach.message for breach in report.breaches)
    assert not bug.history or any(bug.history in line for line in report.history)
