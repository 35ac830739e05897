from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class OrdersSettings(ServiceSettings, env_prefix="ORDERS_"):
    """Settings of orders."""

    live_poll: Seconds = Field(
        2.0,
        ge=0.05,
        le=60,
        description="How often (seconds) an open WebSocket checks the database for changes made by other processes",
    )
