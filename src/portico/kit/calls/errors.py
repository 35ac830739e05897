"""Errors of calls between services.

::

    CallError
    ├── CalledInTransaction      rejected before it began: a transaction is open
    ├── CallFailed               there is no usable response
    │   ├── Unreachable          nothing was sent: any call may be retried
    │   │   ├── BreakerOpen      not sent: the instances have failed too often recently
    │   │   └── Saturated        not sent: too many calls are in flight
    │   ├── CallTimedOut         the time limit expired; the outcome is unknown
    │   ├── ConnectionLost       the connection broke; the outcome is unknown
    │   ├── ResponseTooLarge     the response exceeds the limit; the call may have taken effect
    │   └── ResponseInvalid      the response does not match the contract
    └── Refused                  the service responded with 4xx or 5xx
"""

from collections.abc import Mapping
from typing import Any


class CallError(Exception):
    """Base class of all errors of a call.

    Args:
        service: name of the called service.
        reason: a phrase for logs, without secrets or bodies.
    """

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(service, reason)
        self.service = service
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.service}: {self.reason}"


class CalledInTransaction(CallError):
    """The caller has an open transaction.

    Waiting for another service while holding locks (on SQLite, the only writer) can cause a deadlock. Call before the
    transaction begins or after it ends.
    """

    def __init__(self, service: str) -> None:
        super().__init__(
            service,
            "called while a transaction is open; call before it begins (an endpoint: calls_services=True) or after it ends",
        )


class CallFailed(CallError):
    """There is no usable response.

    Attributes:
        retry_after: seconds after which a retry makes sense; None if unknown.
    """

    def __init__(self, service: str, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(service, reason)
        self.retry_after = retry_after


class Unreachable(CallFailed):
    """Nothing was sent, so any call may be retried."""


class BreakerOpen(Unreachable):
    """Every instance has failed too often recently, so none was called.

    Attributes:
        retry_after: seconds until the first instance gets a trial call.
    """

    retry_after: float

    def __init__(self, service: str, *, retry_after: float) -> None:
        super().__init__(service, "failed too often recently and was not called", retry_after=retry_after)


class Saturated(Unreachable):
    """The maximum number of calls is in flight. Further calls are rejected instead of queued."""

    retry_after: float

    def __init__(self, service: str, *, limit: int, retry_after: float = 1.0) -> None:
        super().__init__(service, f"{limit} calls are in flight, which is the limit", retry_after=retry_after)


class CallTimedOut(CallFailed):
    """The time limit expired before the response; the outcome is unknown."""


class ConnectionLost(CallFailed):
    """The connection broke before the response was complete; the outcome is unknown."""


class ResponseTooLarge(CallFailed):
    """The response exceeds the limit and was not read completely."""

    def __init__(self, service: str, *, limit: int) -> None:
        super().__init__(service, f"the response exceeds {limit} bytes")


class ResponseInvalid(CallFailed):
    """The response does not match the contract."""


class Refused(CallError):
    """The service responded with an error.

    Attributes:
        status: the HTTP status, 400 to 599.
        problem: the problem document (RFC 9457); empty if the body was no such document.
        retry_after: seconds of the `Retry-After` header; None without it.
    """

    def __init__(
        self, service: str, status: int, problem: Mapping[str, Any], *, retry_after: float | None = None
    ) -> None:
        code = problem.get("code")
        super().__init__(service, f"answered {status}" + (f" {code}" if isinstance(code, str) else ""))
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def code(self) -> str | None:
        """The problem's stable code, such as `product_not_found`."""
        code = self.problem.get("code")
        return code if isinstance(code, str) else None
