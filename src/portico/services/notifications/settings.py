from pydantic import Field

from portico.kit.settings import Seconds, ServiceSettings


class NotificationsSettings(ServiceSettings):
    """What notifications may be told besides what every process may."""

    mail_attempts: int = Field(12, ge=1, le=100, description="Times that a mail is tried before it counts as failed")
    mail_retry_delay: Seconds = Field(
        5.0, ge=0.1, le=3600, description="Seconds before a mail is tried again; four times as long each further time"
    )
    mail_retry_limit: Seconds = Field(
        3600.0, ge=1, le=86_400, description="Seconds between two tries of a mail, at most"
    )
    recipient_patience: Seconds = Field(
        3600.0, ge=1, le=604_800, description="Seconds that a mail waits for the address of whom it is for"
    )
    notification_retention: Seconds = Field(
        7_776_000.0,
        ge=86_400,
        le=315_360_000,
        description="Seconds that what was sent or has failed is kept, with its attempts; EVENT_RETENTION at least",
    )
