"""How a drilled shop is opened: its settings, and somebody who may do everything in it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from portico.drill.faults import ALL_FAULTS
from portico.drill.faults.plan import Kind
from portico.drill.shopping import Visitor
from portico.kit.calls.channel import Channel

CUSTOMERS = 12
PRODUCTS = 10

_ADMIN = "admin@example.com"


@dataclass(frozen=True, slots=True)
class DrillSettings:
    """What a drill is to do.

    Args:
        orders: how many are placed.
        seed: of the faults and of what customers want.
        faults: what may go wrong.
        rate: the share of places at which something does.
    """

    orders: int = 1000
    seed: int = 7
    faults: tuple[Kind, ...] = ALL_FAULTS
    rate: float = 0.03


def quick_settings(data_dir: object) -> dict[str, str]:
    """What the environment of the shop says: nobody waits long for anything, and passwords are hashed fast."""
    return {
        "DATA_DIR": str(data_dir),
        "ADMIN_EMAIL": _ADMIN,
        "ADMIN_PASSWORD": secrets.token_urlsafe(24),
        "IDENTITY_PASSWORD_PASSES": "1",
        "IDENTITY_PASSWORD_MEMORY_KIB": "64",
        "ACCESS_TOKEN_EXPIRE_MINUTES": "720",  # nobody signs in again, however long the drill takes
        "RATE_LIMIT": "1000000/minute",
        "RATE_LIMIT_SIGN_IN": "1000000/minute",
        "RELAY_LEASE": "0.5",
        "EVENT_RETRY_DELAY": "0.05",
        "EVENT_ATTEMPTS": "40",
        "NOTIFICATIONS_MAIL_RETRY_DELAY": "0.1",
        "NOTIFICATIONS_MAIL_RETRY_LIMIT": "1",
        "PAYMENTS_SIMULATED_SETTLEMENT": "0.3",
    }


async def signed_in(channel: Channel, variables: Mapping[str, str]) -> Visitor:
    """The administrator of a shop that has these settings. Raises NoAnswer."""
    credentials = {"email": variables["ADMIN_EMAIL"], "password": variables["ADMIN_PASSWORD"]}
    reply = await Visitor(channel).ask("POST", "/login", credentials)
    return Visitor(channel, reply.body["access_token"])
