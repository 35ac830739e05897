from typing import Annotated

from pydantic import Field

from portico.kit import Seconds, Secret, ServiceSettings
from portico.kit.settings import Generated


class PaymentsSettings(ServiceSettings, env_prefix="PAYMENTS_"):
    """Settings of payments."""

    webhook_secret: Annotated[Secret | None, Generated()] = Field(
        None, description="Secret that signs the payment provider's webhooks"
    )
    provider_timeout: Seconds = Field(
        10.0,
        gt=0,
        le=60,
        description="How long (seconds) the payment provider may take to respond before the outcome is unknown",
    )
    charge_batch: int = Field(128, ge=1, le=1000, description="Maximum number of charges in one transaction")
    charge_queue: int = Field(
        5000, ge=1, le=100_000, description="Maximum number of waiting charges; further ones fail with 503"
    )
    webhook_tolerance: Seconds = Field(
        300.0, ge=1, le=3600, description="How old (seconds) a webhook's signature may be"
    )
    simulated_settlement: Seconds = Field(
        2.0, ge=0, le=3600, description="How long (seconds) the simulated provider takes to settle pm_slow"
    )
