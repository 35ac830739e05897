"""Outcomes of forwarded requests."""

import enum


class Outcome(enum.Enum):
    """How a request ended."""

    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    BODY_REFUSED = "body_refused"
    STOPPED = "stopped"
    STALLED = "stalled"
    BROKEN = "broken"
