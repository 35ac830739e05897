from enum import Enum

from portico.services.payments.provider.domain import ProviderCharge, ProviderRefused


class Unsaid(Enum):
    """What the provider may leave open."""

    UNKNOWN = "it did not answer, or has not decided: ask again"
    NOTHING = "it knows of no such charge"
    IN_FLIGHT = "it knows of no such charge, and one may be on its way to it"


Outcome = ProviderCharge | ProviderRefused | Unsaid
"""What became of a charge: it is known, it was refused before it became one, or it is not known."""
