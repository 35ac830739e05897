"""Orders: what was ordered, and the saga that places it."""

from portico.contracts.orders import OrderCancelled, OrderCreated, OrderFailed, OrderUpdated
from portico.kit import Service
from portico.services.orders import endpoints, models, saga
from portico.services.orders.settings import OrdersSettings

service = Service(
    name="orders",
    summary="What was ordered, and the saga that places it",
    module=__name__,
    routers=[endpoints.router],
    publishes=[OrderCreated, OrderUpdated, OrderCancelled, OrderFailed],
    sagas=[saga.place_order, saga.cancel_order, saga.ship_order, saga.return_order],
    tables=models.Table.metadata,
    settings=OrdersSettings,
    calls=["identity", "catalog", "payments"],
)
