"""Catalog: products, product search and stock."""

from portico.contracts.catalog import InventoryLow, InventoryUpdated, ProductCreated, ProductDeleted, ProductUpdated
from portico.kit import Service
from portico.services.catalog.models import Table
from portico.services.catalog.products import api as products
from portico.services.catalog.settings import CatalogSettings
from portico.services.catalog.stock import api as stock
from portico.services.catalog.stock import jobs
from portico.services.catalog.stock.writer import StockWriter, open_stock_writer

service = Service(
    name="catalog",
    summary="Products, product search and stock",
    module=__name__,
    routers=[products.router, stock.router],
    jobs=[jobs.expire_reservations],
    publishes=[ProductCreated, ProductUpdated, ProductDeleted, InventoryUpdated, InventoryLow],
    tables=Table.metadata,
    settings=CatalogSettings,
    resources={StockWriter: open_stock_writer},
    calls=["identity"],
)
