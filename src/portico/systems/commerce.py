"""Commerce: a shop that never sells what it does not have."""

from portico.kit.system import System
from portico.services.catalog import service as products
from portico.services.identity import service as identity

commerce = System(
    "commerce",
    summary="A shop that never sells what it does not have",
    gateway=8080,
    services={identity: 8001, products: 8002},
    roles={
        "customer": [],
        "staff": [
            "products:write",
            "inventory:read",
            "inventory:write",
            "orders:read",
            "orders:write",
            "payments:read",
        ],
        "administrator": ["*"],
    },
    default_role="customer",
)
