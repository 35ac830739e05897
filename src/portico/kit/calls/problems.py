"""Problems that a service returns when a service that it calls fails."""

from math import ceil

from portico.kit.calls.errors import (
    CallFailed,
    CallTimedOut,
    ConnectionLost,
    Refused,
    ResponseInvalid,
    ResponseTooLarge,
)
from portico.kit.foundation.problems import BadGateway, GatewayTimeout, Problem, Unavailable

_LATER = frozenset({429, 503})


class ServiceUnavailable(Unavailable):
    detail = "The service '{service}' is temporarily unavailable. Retry in {retry_after:.0f} seconds."

    service: str


class ServiceFailed(BadGateway):
    detail = "The service '{service}' returned no usable response. Whether it did what was requested is unknown."

    service: str


class ServiceTimeout(GatewayTimeout):
    detail = "The service '{service}' did not respond in time. Whether it did what was requested is unknown."

    service: str


def problem_of(error: CallFailed | Refused) -> Problem:
    """Return the problem for an unhandled failure of a call.

    An unexpected error response is not passed on, because its 404 or 403 refers to another resource and caller.
    """
    match error:
        case CallTimedOut():
            return ServiceTimeout(service=error.service)
        case ConnectionLost() | ResponseInvalid() | ResponseTooLarge():
            return ServiceFailed(service=error.service)
        case Refused() if error.status not in _LATER:
            return ServiceFailed(service=error.service)
        case _:
            # The body has whole seconds, like the header.
            return ServiceUnavailable(service=error.service, retry_after=ceil(error.retry_after or 1))
