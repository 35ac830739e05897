from pydantic import Field

from portico.kit.settings import Seconds, ServiceSettings


class PaymentsSettings(ServiceSettings):
    """What payments may be told besides what every process may."""

    provider_timeout: Seconds = Field(
        10.0,
        gt=0,
        le=60,
        description="Seconds that the payment provider gets to answer; after it the outcome is unknown",
    )
    webhook_tolerance: Seconds = Field(
        300.0, ge=1, le=3600, description="Seconds that the signature of a webhook is good for"
    )
    simulated_settlement: Seconds = Field(
        2.0, ge=0, le=3600, description="Seconds until the simulated provider knows the outcome of pm_slow"
    )
