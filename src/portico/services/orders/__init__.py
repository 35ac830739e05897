"""Orders, and the sagas that place, cancel, ship and return them."""

from portico.contracts.orders import OrderCancelled, OrderCreated, OrderFailed, OrderUpdated
from portico.kit import Service
from portico.services.orders import api, models, saga
from portico.services.orders.products import ProductLookup, open_product_lookup
from portico.services.orders.settings import OrdersSettings

service = Service(
    name="orders",
    summary="Orders, and the sagas that place, cancel, ship and return them",
    module=__name__,
    routers=[api.router],
    publishes=[OrderCreated, OrderUpdated, OrderCancelled, OrderFailed],
    sagas=[saga.place_order, saga.cancel_order, saga.ship_order, saga.return_order],
    tables=models.Table.metadata,
    settings=OrdersSettings,
    resources={ProductLookup: open_product_lookup},
    calls=["identity", "catalog", "payments"],
)
