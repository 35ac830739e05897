from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class BookingsSettings(ServiceSettings, env_prefix="BOOKINGS_"):
    """Settings of bookings."""

    transfer_expires_in: Seconds = Field(
        259_200.0,
        ge=60,
        le=31_536_000,
        validation_alias="TRANSFER_EXPIRES_IN",
        description="How long (seconds) an offered ticket can be accepted",
    )
    check_in_batch: int = Field(100, ge=1, le=1000, description="Maximum number of check-ins in one transaction")
    check_in_queue: int = Field(
        5000, ge=1, le=100_000, description="Maximum number of waiting check-ins; further ones fail with 503"
    )
