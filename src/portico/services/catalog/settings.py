from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class CatalogSettings(ServiceSettings, env_prefix="CATALOG_"):
    """Settings of catalog."""

    low_stock_threshold: int = Field(
        10,
        ge=0,
        le=1_000_000_000,
        description="Available quantity at or below which inventory.low is published",
    )
    reservation_expires_in: Seconds = Field(
        900.0, ge=1, le=86_400, description="How long (seconds) an unconfirmed reservation is held"
    )
    stock_batch: int = Field(256, ge=1, le=10_000, description="Maximum reservation changes in one transaction")
    stock_queue: int = Field(
        2_000, ge=1, le=100_000, description="Reservation changes that may wait; further ones fail with 503"
    )
