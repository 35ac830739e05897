from collections.abc import Sequence

from sqlalchemy import select

from portico.contracts.payments import PaymentId
from portico.kit.data import Keyset, Slice, Window
from portico.kit.data.reader import Reader
from portico.services.payments.refunds.models import Refund

NEWEST = Keyset.by("newest", Refund.refund_id, descending=True)


class Refunds:
    """The refunds there are."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def by_key(self, payment_id: PaymentId, key: str) -> Refund | None:
        """The refund of a payment that this key stands for."""
        return await self.source.one(select(Refund).where(Refund.payment_id == payment_id, Refund.key == key))

    async def open_of(self, payment_id: PaymentId) -> Sequence[Refund]:
        """The refunds of a payment that are on their way."""
        return await self.source.all(
            select(Refund).where(Refund.payment_id == payment_id, Refund.status == "processing")
        )

    async def failed_of(self, payment_id: PaymentId) -> Sequence[Refund]:
        """The refunds of a payment that the provider refused."""
        return await self.source.all(select(Refund).where(Refund.payment_id == payment_id, Refund.status == "failed"))

    async def latest_of(self, payment_id: PaymentId) -> Refund | None:
        """The refund of a payment that was begun last."""
        statement = select(Refund).where(Refund.payment_id == payment_id).order_by(Refund.refund_id.desc()).limit(1)
        return await self.source.one(statement)

    async def page(self, payment_id: PaymentId, window: Window) -> Slice[Refund]:
        """The refunds of a payment, the newest first."""
        return await NEWEST.page(self.source, select(Refund).where(Refund.payment_id == payment_id), window)
