"""Calls between services: typed clients over a channel, in this process or over HTTP.

From the caller inwards: `Client` and `Calls` (identity, trace and deadline), `RetryingChannel` (retries within a
budget), then `LocalChannel` or `HttpChannel`, which take an instance from a `Pool` or `Directory` with its `Breaker`.
"""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.calls.channel import Channel, Incoming, Outgoing
    from portico.kit.calls.client import Calls, Client, Summary
    from portico.kit.calls.errors import CallError, CallFailed, ConnectionLost, Refused, Unreachable
    from portico.kit.calls.lookup import BatchedLookup
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "channel": "Channel Incoming Outgoing",
            "client": "Calls Client Summary",
            "errors": "CallError CallFailed ConnectionLost Refused Unreachable",
            "lookup": "BatchedLookup",
        },
    )

__all__ = [
    "BatchedLookup",
    "CallError",
    "CallFailed",
    "Calls",
    "Channel",
    "Client",
    "ConnectionLost",
    "Incoming",
    "Outgoing",
    "Refused",
    "Summary",
    "Unreachable",
]
