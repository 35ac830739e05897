from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from portico.kit.data.reader import Reader
from portico.services.payments.provider.simulated.models import SimulatedCharge, SimulatedWebhook

CHARGES: Any = SimulatedCharge.__table__


async def charge_called(source: Reader, charge_id: str, *, lock: bool = False) -> SimulatedCharge | None:
    """The charge with this id, or None."""
    statement = select(SimulatedCharge).where(SimulatedCharge.charge_id == charge_id)
    return await source.one(statement.with_for_update() if lock else statement)


async def charges_after(source: Reader, after: str | None, limit: int) -> Sequence[SimulatedCharge]:
    """Charges by age, the oldest first; requests that were met with an error are none."""
    statement = select(SimulatedCharge).where(SimulatedCharge.status != "lost")
    if after is not None:
        statement = statement.where(SimulatedCharge.charge_id > after)
    return await source.all(statement.order_by(SimulatedCharge.charge_id).limit(limit))


async def keys_to_settle(source: Reader, now: datetime, limit: int) -> Sequence[str]:
    """The keys of slow charges whose outcome is due."""
    statement = select(SimulatedCharge.key).where(SimulatedCharge.settles_at <= now)
    return await source.all(statement.order_by(SimulatedCharge.settles_at).limit(limit))


async def webhooks_to_send(source: Reader, now: datetime, limit: int) -> Sequence[SimulatedWebhook]:
    """The webhooks that are due, in order."""
    statement = select(SimulatedWebhook).where(SimulatedWebhook.send_at <= now)
    return await source.all(statement.order_by(SimulatedWebhook.number).limit(limit))
