"""Catalog: users and products. The smallest system; read it first."""

from portico.kit import System
from portico.services.catalog import service as products
from portico.services.identity import service as identity

catalog = System(
    "catalog",
    summary="Users and products, with delegated token validation",
    gateway=8000,
    services={identity: 8001, products: 8002},
    roles={"customer": ["products:write", "inventory:read", "inventory:write"], "administrator": ["*"]},
    default_role="customer",
    verification="ask",
)
