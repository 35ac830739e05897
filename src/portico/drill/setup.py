"""The settings of a drill, and of the system under drill."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from portico.drill.faults.plan import ALL_FAULTS, ALL_SITES, Kind, Site

Progress = Callable[[str], None]
"""Is called with messages about a drill's progress."""
OnDone = Callable[[int], None]
"""Is called with the number of acknowledged orders, or of buyers who are done, after each."""

_ADMIN = "admin@example.com"


@dataclass(frozen=True, slots=True)
class DrillSettings:
    """What a drill does.

    Args:
        orders: the number of orders placed, or of buyers.
        seats: the number of seats that the buyers of ticketing compete for.
        seed: determines the faults and what customers do.
        faults: the kinds of faults.
        rate: the share of places at which a fault occurs.
        sites: the kinds of places at which a fault may occur, in a drill in one process.
    """

    orders: int = 1000
    seats: int = 300
    seed: int = 7
    faults: tuple[Kind, ...] = ALL_FAULTS
    rate: float = 0.03
    sites: tuple[Site, ...] = ALL_SITES


def system_settings(data_dir: object) -> dict[str, str]:
    """Return settings of the system with short delays and fast password hashing."""
    return {
        "DATA_DIR": str(data_dir),
        "ADMIN_EMAIL": _ADMIN,
        "ADMIN_PASSWORD": secrets.token_urlsafe(24),
        "IDENTITY_PASSWORD_PASSES": "1",
        "IDENTITY_PASSWORD_MEMORY_KIB": "64",
        "ACCESS_TOKEN_EXPIRE_MINUTES": "720",  # longer than any drill
        "RATE_LIMIT": "1000000/minute",
        "RATE_LIMIT_SIGN_IN": "1000000/minute",
        "RELAY_LEASE": "0.5",
        "EVENT_RETRY_DELAY": "0.05",
        "EVENT_ATTEMPTS": "40",
        "NOTIFICATIONS_MAIL_RETRY_DELAY": "0.1",
        "NOTIFICATIONS_MAIL_RETRY_LIMIT": "1",
        "PAYMENTS_SIMULATED_SETTLEMENT": "0.3",
    }
