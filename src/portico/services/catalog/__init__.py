"""Catalog: the products, and how they are found."""

from portico.kit.service import Service
from portico.services.catalog import endpoints, models

service = Service(
    name="catalog",
    summary="Products, and how they are found",
    module=__name__,
    routers=[endpoints.router],
    tables=models.Table.metadata,
    calls=["identity"],
)
