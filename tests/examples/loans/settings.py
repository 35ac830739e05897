from pydantic import Field

from portico.kit import ServiceSettings


class LoansSettings(ServiceSettings, env_prefix="LOANS_"):
    """Settings of loans."""

    per_reader: int = Field(3, ge=1, description="Books that a reader may borrow at a time")
