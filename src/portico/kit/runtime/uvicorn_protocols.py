"""HTTP connections: uvicorn's protocol with limits whose violations are problem documents."""

import secrets
from http import HTTPStatus

from portico.kit._compat.uvicorn import HeadFault, LimitedHttpProtocol
from portico.kit.foundation.problems import BadRequest, Problem
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes


class HeadTooLong(Problem):
    status = 431
    detail = "The head of the request, or the data between its chunks, is longer than {limit} bytes."

    limit: int


class HeadTooSlow(Problem):
    status = 408
    detail = "The head of the request was not complete within {seconds:.0f} seconds."

    seconds: float


class LimitedConnection(LimitedHttpProtocol):
    """HTTP/1.1 connection with limits for size and time of a request's head."""

    def rejection(self, fault: HeadFault) -> bytes:
        """Return a problem document as a whole HTTP response that closes the connection."""
        problem = self._problem(fault)
        body = problem_bytes(problem, instance="", request_id=secrets.token_hex(8))
        status = HTTPStatus(problem.status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        return head.encode() + body

    def _problem(self, fault: HeadFault) -> Problem:
        match fault:
            case HeadFault.TOO_LONG:
                return HeadTooLong(limit=self.max_head)
            case HeadFault.TOO_SLOW:
                return HeadTooSlow(seconds=self.head_seconds)
            case HeadFault.MALFORMED:
                return BadRequest(reason="it is not HTTP/1.1")
