from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class OrdersSettings(ServiceSettings):
    """What orders may be told besides what every process may."""

    live_poll: Seconds = Field(
        2.0, ge=0.05, le=60, description="Seconds after which a follower of an order looks for what another process did"
    )
