from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from portico.kit import Reader, UnitOfWork
from portico.kit.data import Statement, insert_all_if_absent
from portico.services.payments.simulated_provider.models import SimulatedCharge, SimulatedWebhook

_CHARGES: Any = SimulatedCharge.__table__
_WEBHOOKS: Any = SimulatedWebhook.__table__
NEXT_WORK = Statement(
    select(
        select(func.min(_CHARGES.c.settles_at))
        .where(_CHARGES.c.settles_at.is_not(None))
        .scalar_subquery()
        .label("settles"),
        select(func.min(_WEBHOOKS.c.send_at)).scalar_subquery().label("sends"),
    )
)
"""When the next work is due. PostgreSQL would answer whether some is due with a scan of the table: it plans a prepared
statement as if a third of all rows were due."""


async def insert_charges(work: UnitOfWork, rows: Sequence[dict[str, Any]]) -> Sequence[bool]:
    """Insert charges; return for each whether there was none with the same key."""
    return await insert_all_if_absent(work, _CHARGES, rows)


async def lock_charge(work: UnitOfWork, charge_id: str) -> SimulatedCharge | None:
    """Return the charge with this id and lock it, or return None."""
    return await work.one(select(SimulatedCharge).where(SimulatedCharge.charge_id == charge_id).with_for_update())


async def charges_after(source: Reader, after: str | None, limit: int) -> Sequence[SimulatedCharge]:
    """Return charges, oldest first, without the requests that failed."""
    statement = select(SimulatedCharge).where(SimulatedCharge.status != "unprocessed")
    if after is not None:
        statement = statement.where(SimulatedCharge.charge_id > after)
    return await source.all(statement.order_by(SimulatedCharge.charge_id).limit(limit))


async def has_due_work(source: Reader, now: datetime) -> bool:
    """Return whether a slow charge is to be settled or a webhook to be sent."""
    [found] = await source.rows(NEXT_WORK, {})
    return any(moment is not None and moment <= now for moment in (found.settles, found.sends))


async def keys_to_settle(source: Reader, now: datetime, limit: int) -> Sequence[str]:
    """Return the keys of slow charges whose outcome is due."""
    statement = select(SimulatedCharge.key).where(SimulatedCharge.settles_at <= now)
    return await source.all(statement.order_by(SimulatedCharge.settles_at).limit(limit))


async def webhooks_to_send(source: Reader, now: datetime, limit: int) -> Sequence[SimulatedWebhook]:
    """Return the webhooks that are due, in order."""
    statement = select(SimulatedWebhook).where(SimulatedWebhook.send_at <= now)
    return await source.all(statement.order_by(SimulatedWebhook.number).limit(limit))
