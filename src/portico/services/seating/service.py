"""Use cases of shows and their sections."""

from collections.abc import Sequence
from typing import Any

from portico.contracts.events import SectionPlan, ShowDeleted, ShowEvent, ShowId
from portico.contracts.seating import Availability
from portico.kit import Money, UnitOfWork, get_logger
from portico.services.seating.codes.repository import count_codes_with_amount
from portico.services.seating.errors import CurrencyInUse, EventInUse, SeatsInUse
from portico.services.seating.hall.layout import Layout, Section
from portico.services.seating.hall.places import Places
from portico.services.seating.holds.locked_show import exhaustion_event, is_exhausted_with
from portico.services.seating.holds.repository import end_holds_of_show
from portico.services.seating.models import Show
from portico.services.seating.repository import find_show, load_places, lock_show, replace_sections, sections_of

logger = get_logger(__name__)


async def apply_event(work: UnitOfWork, event: ShowEvent) -> bool:
    """Take over the state of a show. Return False if a newer event was handled before."""
    show = await lock_show(work, event.event_id)
    if event.revision <= show.event_revision:
        return False
    show.event_revision = event.revision
    show.status = event.status
    show.sold_out_by_hand = event.sold_out_by_hand
    show.sale_starts_at = event.sale_start_time
    show.sale_ends_at = event.sale_end_time
    show.max_seats_per_user = event.max_seats_per_user
    show.orphan_rule = event.orphan_rule
    show.waiting_room = event.waiting_room
    if event.revision >= show.layout_revision:
        try:
            price = Money.of(event.price, event.currency)
            await _store_sections(work, show, event.sections, price, event.revision)
        except SeatsInUse as problem:
            # A larger layout was announced and used, but its revision was never made. The next one is checked first.
            logger.warning("layout_kept", event_id=int(show.show_id), revision=event.revision, reason=str(problem))
    if show.status == "CANCELLED":
        await end_holds_of_show(work, show.show_id)
    return True


async def apply_deletion(work: UnitOfWork, event: ShowDeleted) -> bool:
    """Close a deleted show. Return False if a newer event was handled before."""
    show = await lock_show(work, event.event_id)
    if event.revision <= show.event_revision:
        return False
    show.event_revision, show.status, show.is_closed = event.revision, "CANCELLED", True
    await end_holds_of_show(work, show.show_id)
    return True


async def replace_layout(
    work: UnitOfWork, show_id: ShowId, plans: Sequence[SectionPlan], price: Money, *, revision: int
) -> Availability:
    """Replace the sections and prices of a show by those of its next revision; an outdated one changes nothing.

    A show whose first event has not arrived has no place in use, so that its event can bring any sections.

    Raises:
        CurrencyInUse: the currency is another one, and places are held or sold, or codes have an amount.
        SeatsInUse: places that are held, sold or blocked do not exist in the new layout.
    """
    show = await find_show(work, show_id)
    if show is None:
        return Availability(event_id=show_id, available=Layout.of(plans).places, used=0)
    if revision > show.event_revision and revision >= show.layout_revision:
        if price.currency != show.currency:
            await _check_currency_is_unused(work, show)
        await _store_sections(work, show, plans, price, revision)
    places = await load_places(work, show)
    counts = places.counts()
    return Availability(event_id=show_id, available=counts.available, used=counts.held + counts.sold)


async def update_exhaustion(work: UnitOfWork, show_id: ShowId) -> None:
    """Publish whether the show is exhausted if its new sections have changed that.

    Call it after their free places are offered to the waiting list: the public gets what the list leaves.
    """
    await work.flush()
    show = await find_show(work, show_id)
    if show is None or show.is_closed:
        return
    is_exhausted = is_exhausted_with((await load_places(work, show)).counts(), was_exhausted=show.is_exhausted)
    if is_exhausted != show.is_exhausted:
        show.is_exhausted = is_exhausted
        show.exhaustion_number += 1
        work.publish(exhaustion_event(show_id, show.exhaustion_number, is_exhausted=is_exhausted))


async def retire_show(work: UnitOfWork, show_id: ShowId, *, revision: int) -> None:
    """Close a show that is about to be deleted. Raises EventInUse if a place is held or sold.

    An event of this revision or an earlier one, which comes late, does not reopen it.
    """
    show = await find_show(work, show_id)
    if show is None:
        return
    if show.is_closed:
        show.layout_revision = max(show.layout_revision, revision + 1)
        return
    counts = (await load_places(work, show)).counts()
    if counts.held or counts.sold:
        raise EventInUse(event_id=show_id)
    show.layout_revision = max(show.layout_revision, revision + 1)
    show.is_closed = True
    show.version += 1


async def _check_currency_is_unused(work: UnitOfWork, show: Show) -> None:
    """Raise CurrencyInUse if places of the show are held or sold, or codes have an amount."""
    counts = (await load_places(work, show)).counts()
    used, codes = counts.held + counts.sold, await count_codes_with_amount(work, show.show_id)
    if used or codes:
        raise CurrencyInUse(currency=show.currency, used=used, codes=codes)


async def _store_sections(
    work: UnitOfWork, show: Show, plans: Sequence[SectionPlan], price: Money, revision: int
) -> None:
    """Store the sections and prices of a revision if they differ, with the places that are in use. Raises SeatsInUse."""
    show.layout_revision = revision
    has_new_currency = show.currency != price.currency
    show.price_minor, show.currency = price.minor, price.currency
    layout = Layout.of(plans)
    known = await sections_of(work, show.show_id)
    places = (await load_places(work, show)).resized(layout) if known else Places.empty(layout)
    rows = [_row(show, section, plan, places) for section, plan in zip(layout.sections, plans, strict=True)]
    if not (show.is_closed or has_new_currency) and rows == [dict(each._mapping) for each in known]:  # noqa: SLF001  SQLAlchemy's public name for it
        return
    show.is_closed = False
    show.version += 1
    show.layout_version = show.version
    await replace_sections(work, show.show_id, rows, places.dump())


def _row(show: Show, section: Section, plan: SectionPlan, places: Places) -> dict[str, Any]:
    counts = places.counts(section)
    price = show.price_minor if plan.price is None else Money.of(plan.price, show.currency).minor
    return {
        "show_id": show.show_id,
        "number": section.number,
        "name": section.name,
        "row_count": section.rows,
        "seats_per_row": section.seats_per_row,
        "accessible": list(plan.accessible),
        "price_minor": price,
        "total": counts.total,
        "held": counts.held,
        "sold": counts.sold,
        "blocked": counts.blocked,
    }
