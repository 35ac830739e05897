"""What the gateway itself refuses, and what it makes of a service that gives no answer."""

from math import ceil

from portico.kit.calls.errors import AnswerInvalid, CallFailed, CallTimedOut, ConnectionLost
from portico.kit.problems import BadGateway, GatewayTimeout, Problem, Unavailable


class ServiceUnavailable(Unavailable):
    code = "service_unavailable"
    detail = "The service '{service}' can't be reached right now. Come again in {retry_after:.0f} s."

    service: str


class Overloaded(Unavailable):
    code = "overloaded"
    detail = "As many requests as can be served are in flight. Come again in {retry_after:.0f} s."


class ServiceFailed(BadGateway):
    code = "service_failed"
    detail = "The service '{service}' broke off or gave no readable answer. Whether it did what was asked is not known."

    service: str


class ServiceTimeout(GatewayTimeout):
    code = "service_timeout"
    detail = "The service '{service}' did not answer in time. Whether it did what was asked is not known."

    service: str


def problem_of(failure: CallFailed) -> Problem:
    """What a client is told of a call that failed."""
    match failure:
        case CallTimedOut():
            return ServiceTimeout(service=failure.service)
        case ConnectionLost() | AnswerInvalid():
            return ServiceFailed(service=failure.service)
        case _:
            return ServiceUnavailable(service=failure.service, retry_after=ceil(failure.retry_after or 1))
