from sqlalchemy import ColumnElement, select

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit.auth import Principal
from portico.kit.data import Keyset, Repository, Slice, Window
from portico.services.payments.payments.errors import PaymentNotFound
from portico.services.payments.payments.models import Payment

NEWEST = Keyset.by("newest", Payment.payment_id, descending=True)
READ = "payments:read"


class Payments(Repository[Payment]):
    table = Payment
    missing = PaymentNotFound

    async def page(self, window: Window, *, visible_to: Principal, order_id: OrderId | None = None) -> Slice[Payment]:
        """Payments that `visible_to` may see, the newest first; those of one order with `order_id`."""
        statement = select(Payment).where(*_visible(visible_to))
        if order_id is not None:
            statement = statement.where(Payment.order_id == order_id)
        return await NEWEST.page(self.source, statement, window)

    async def seen(self, payment_id: PaymentId, *, visible_to: Principal) -> Payment:
        """The payment, where `visible_to` may see it. Raises PaymentNotFound."""
        found = await self.source.one(select(Payment).where(Payment.payment_id == payment_id, *_visible(visible_to)))
        if found is None:
            raise PaymentNotFound(payment_id=payment_id)
        return found


def _visible(caller: Principal) -> list[ColumnElement[bool]]:
    if caller.kind == "service" or caller.may(READ):
        return []
    return [Payment.user_id == caller.user_id]
