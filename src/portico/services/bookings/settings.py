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
    booking_deadline: Seconds = Field(
        120.0,
        ge=1,
        le=3600,
        validation_alias="BOOKING_DEADLINE",
        description="How long (seconds) a booking may take until its places are sold; it then expires",
    )
    payment_tries: int = Field(
        3,
        ge=1,
        le=20,
        validation_alias="PAYMENT_TRIES",
        description="How many payments with one hold may be declined before the hold is released",
    )
    live_poll: Seconds = Field(
        2.0,
        ge=0.05,
        le=60,
        description="How often (seconds) an open WebSocket checks the database for changes made by other processes",
    )
