"""What a caller is told when a service that was needed for the answer did not give its own."""

from math import ceil

from portico.kit.calls.errors import AnswerInvalid, AnswerTooLarge, CallFailed, CallTimedOut, ConnectionLost, Refused
from portico.kit.foundation.problems import BadGateway, GatewayTimeout, Problem, Unavailable

_LATER = frozenset({429, 503})


class ServiceUnavailable(Unavailable):
    detail = "The service '{service}' is temporarily unavailable. Retry in {retry_after:.0f} seconds."

    service: str


class ServiceFailed(BadGateway):
    detail = "The service '{service}' broke off or gave no usable answer. Whether it did what was asked is not known."

    service: str


class ServiceTimeout(GatewayTimeout):
    detail = "The service '{service}' did not answer in time. Whether it did what was asked is not known."

    service: str


def problem_of(error: CallFailed | Refused) -> Problem:
    """The problem that an unhandled failure of a call is to one's own caller.

    A refusal that the calling code did not expect is not passed on: its 404 or 403 speaks of another resource and
    another caller than the one who asked.
    """
    match error:
        case CallTimedOut():
            return ServiceTimeout(service=error.service)
        case ConnectionLost() | AnswerInvalid() | AnswerTooLarge():
            return ServiceFailed(service=error.service)
        case Refused() if error.status not in _LATER:
            return ServiceFailed(service=error.service)
        case _:
            # whole seconds in the body, as in the header
            return ServiceUnavailable(service=error.service, retry_after=ceil(error.retry_after or 1))
