from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class NotificationsSettings(ServiceSettings):
    """Settings of notifications."""

    mail_attempts: int = Field(12, ge=1, le=100, description="How many attempts a mail gets before it fails")
    mail_retry_delay: Seconds = Field(
        5.0,
        ge=0.1,
        le=3600,
        description="Pause (seconds) before the second attempt; each further pause is four times as long",
    )
    mail_retry_limit: Seconds = Field(
        3600.0, ge=1, le=86_400, description="Longest pause (seconds) between two attempts of a mail"
    )
    recipient_patience: Seconds = Field(
        3600.0, ge=1, le=604_800, description="How long (seconds) a mail waits until the recipient's address is known"
    )
    notification_retention: Seconds = Field(
        7_776_000.0,
        ge=86_400,
        le=315_360_000,
        description="How long (seconds) sent and failed notifications are kept; at least EVENT_RETENTION",
    )
