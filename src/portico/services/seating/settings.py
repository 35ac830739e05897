from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class SeatingSettings(ServiceSettings, env_prefix="SEATING_"):
    """Settings of seating."""

    hold_expires_in: Seconds = Field(
        600.0,
        ge=1,
        le=86_400,
        validation_alias="HOLD_EXPIRES_IN",
        description="How long (seconds) places are held for a user",
    )
    hold_grace: Seconds = Field(
        120.0,
        ge=1,
        le=86_400,
        validation_alias="HOLD_GRACE",
        description="Minimum time (seconds) that places stay held after a declined payment",
    )
    max_seats_per_user: int = Field(
        8,
        ge=1,
        le=1_000,
        validation_alias="MAX_SEATS_PER_USER",
        description="Places of a show that one user may hold and book, unless the show has its own limit",
    )
    waitlist_offer_expires_in: Seconds = Field(
        1_800.0,
        ge=1,
        le=604_800,
        validation_alias="WAITLIST_OFFER_EXPIRES_IN",
        description="How long (seconds) places are held for a user in the waiting list who is offered them",
    )
    hold_queue: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        validation_alias="HOLD_QUEUE",
        description="Changes of holds that may wait; further ones fail with 503",
    )
    hold_batch: int = Field(256, ge=1, le=10_000, description="Maximum changes of holds in one transaction")
    expiry_batch: int = Field(
        128,
        ge=1,
        le=10_000,
        description="Maximum ended holds whose places are freed by one change; four times as many while no other change is "
        "requested",
    )
    cached_halls: int = Field(64, ge=1, le=10_000, description="Shows whose places are kept in memory for changes")
    cached_maps: int = Field(32, ge=1, le=10_000, description="Seat maps kept in memory, as JSON and compressed")
    waiting_room_shoppers: int = Field(
        500,
        ge=1,
        le=1_000_000,
        validation_alias="WAITING_ROOM_SHOPPERS",
        description="Users who may shop at once in a show with a waiting room",
    )
    waiting_room_opens: Seconds = Field(
        900.0,
        ge=0,
        le=604_800,
        validation_alias="WAITING_ROOM_OPENS",
        description="How long (seconds) before the sale users may join a waiting room",
    )
    admission_expires_in: Seconds = Field(
        600.0,
        ge=1,
        le=86_400,
        validation_alias="ADMISSION_EXPIRES_IN",
        description="How long (seconds) a user who was admitted from a waiting room may take holds",
    )
    queue_limit: int = Field(
        20_000, ge=1, le=1_000_000, description="Changes of waiting rooms that may wait; further ones fail with 503"
    )
    queue_batch: int = Field(256, ge=1, le=10_000, description="Maximum changes of waiting rooms in one transaction")
