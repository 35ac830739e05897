from pydantic import Field

from portico.kit import ServiceSettings


class SeatingSettings(ServiceSettings, env_prefix="SEATING_"):
    """Settings of seating."""

    cached_maps: int = Field(32, ge=1, le=10_000, description="Seat maps kept in memory, as JSON and compressed")
