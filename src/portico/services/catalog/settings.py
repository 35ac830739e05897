from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class CatalogSettings(ServiceSettings):
    """What catalog may be told besides what every process may."""

    low_stock_threshold: int = Field(
        10, ge=0, le=1_000_000_000, description="inventory.low is told when what is available falls to this or below"
    )
    reservation_expires_in: Seconds = Field(
        900.0, ge=1, le=86_400, description="Seconds that a reservation is held unless it is confirmed"
    )
    stock_batch: int = Field(256, ge=1, le=10_000, description="Changes of reservations in one transaction")
    stock_queue: int = Field(
        2_000, ge=1, le=100_000, description="Changes of reservations that may wait for theirs, 503 beyond it"
    )
