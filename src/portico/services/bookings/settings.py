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
