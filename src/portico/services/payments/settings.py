from pydantic import Field

from portico.kit import Seconds, ServiceSettings


class PaymentsSettings(ServiceSettings):
    """Settings of the payments service."""

    provider_timeout: Seconds = Field(
        10.0,
        gt=0,
        le=60,
        description="How long (seconds) a call to the payment provider may take before its outcome counts as unknown",
    )
    webhook_tolerance: Seconds = Field(
        300.0, ge=1, le=3600, description="How long (seconds) the signature of a webhook is valid"
    )
    simulated_settlement: Seconds = Field(
        2.0, ge=0, le=3600, description="Delay (seconds) until the simulated provider settles a charge with pm_slow"
    )
