"""Commerce: a shop with users, products, orders, payments and mails. It never oversells."""

from portico.kit import System
from portico.services.catalog import service as products
from portico.services.identity import service as identity
from portico.services.notifications import service as notifications
from portico.services.orders import service as orders
from portico.services.payments import service as payments

commerce = System(
    "commerce",
    summary="A shop that never sells what it does not have",
    gateway=8080,
    services={identity: 8001, products: 8002, orders: 8003, payments: 8004, notifications: 8005},
    roles={
        "customer": [],
        "staff": [
            "products:write",
            "inventory:read",
            "inventory:write",
            "orders:read",
            "orders:write",
            "payments:read",
            "notifications:read",
        ],
        "administrator": ["*"],
    },
    default_role="customer",
)
