from pydantic import Field

from portico.kit import ServiceSettings


class LoansSettings(ServiceSettings):
    """What the environment may say to loans."""

    loans_per_reader: int = Field(3, ge=1, description="How many books a reader may have at once")
