"""Catalog: the products, and how they are found."""

from starlette.types import ASGIApp

from portico.contracts.verifying import verifier_of
from portico.kit.service import Service
from portico.kit.standalone import standalone
from portico.services.catalog.models import Table
from portico.services.catalog.products import endpoints as products

service = Service(
    name="catalog",
    summary="Products, and how they are found",
    module=__name__,
    routers=[products.router],
    tables=Table.metadata,
    calls=["identity"],
)


def app() -> ASGIApp:
    """Catalog as an ordinary ASGI application: `uvicorn --factory portico.services.catalog:app`."""
    return standalone(service, verifier_of=verifier_of)
