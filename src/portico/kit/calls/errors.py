"""What can come of a call between services, besides its answer.

::

    CallError
    ├── CalledInTransaction      refused before it began: a transaction is open here
    ├── CallFailed               no answer came that can be used
    │   ├── Unreachable          nothing was sent: any call may be tried again
    │   │   ├── BreakerOpen      not tried: the instances failed too often lately
    │   │   └── Saturated        not tried: too many calls are in flight
    │   ├── CallTimedOut         the time was up; whether it took effect is unknown
    │   ├── ConnectionLost       the connection broke; whether it took effect is unknown
    │   ├── AnswerTooLarge       the answer exceeds the limit; it may have taken effect
    │   └── AnswerInvalid        the answer is not what the contract says
    └── Refused                  the service answered 4xx or 5xx
"""

from collections.abc import Mapping
from typing import Any


class CallError(Exception):
    """Root of all that a call may raise.

    Args:
        service: Name of the service that was called.
        reason: A sentence part for logs; it holds no secret and no body.
    """

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(service, reason)
        self.service = service
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.service}: {self.reason}"


class CalledInTransaction(CallError):
    """The caller has a transaction open.

    Waiting for a neighbour while holding locks (on SQLite: the only writer) deadlocks both: call before the
    transaction begins, or after it ended.
    """

    def __init__(self, service: str) -> None:
        super().__init__(service, "called while a transaction is open; call before it begins or after it ended")


class CallFailed(CallError):
    """No usable answer came.

    Attributes:
        retry_after: Seconds after which a new try makes sense, None where unknown.
    """

    def __init__(self, service: str, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(service, reason)
        self.retry_after = retry_after


class Unreachable(CallFailed):
    """Nothing was sent, so any call may be tried again."""


class BreakerOpen(Unreachable):
    """Every instance failed too often lately, so none was asked.

    Attributes:
        retry_after: Seconds until the first of them gets a trial call.
    """

    retry_after: float

    def __init__(self, service: str, *, retry_after: float) -> None:
        super().__init__(service, "failed too often lately, not asked", retry_after=retry_after)


class Saturated(Unreachable):
    """As many calls as allowed are in flight: refused early rather than queued."""

    retry_after: float

    def __init__(self, service: str, *, limit: int, retry_after: float = 1.0) -> None:
        super().__init__(service, f"{limit} calls are in flight, no more are let through", retry_after=retry_after)


class CallTimedOut(CallFailed):
    """The time was up before the answer came; whether the call took effect is unknown."""


class ConnectionLost(CallFailed):
    """The connection broke before the answer was whole; whether the call took effect is unknown."""


class AnswerTooLarge(CallFailed):
    """The answer exceeds the limit and was not read to its end."""

    def __init__(self, service: str, *, limit: int) -> None:
        super().__init__(service, f"the answer exceeds {limit} bytes")


class AnswerInvalid(CallFailed):
    """The answer is not what the contract says."""


class Refused(CallError):
    """The service answered with an error.

    Attributes:
        status: The HTTP status, 400 to 599.
        problem: The problem document (RFC 9457); empty where the body was none.
        retry_after: Seconds of the answer's `Retry-After`, None where it had none.
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
        """The problem's stable word, such as `product_not_found`."""
        code = self.problem.get("code")
        return code if isinstance(code, str) else None
