"""One request that the fast plane forwards, until it is over or the ASGI plane takes it over."""

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from portico.gateway.access_log import AccessRecord
from portico.gateway.fast.answer import AnswerHead
from portico.gateway.fast.memo import KnownRequest, encoded
from portico.gateway.limits import Verdict
from portico.gateway.proxy.http import FirstAttempt
from portico.gateway.proxy.outcome import Outcome
from portico.gateway.proxy.request import CLIENT_GONE, ProxyRequest
from portico.gateway.request_head import RequestHead
from portico.gateway.request_ids import RequestIds
from portico.gateway.upstreams.base import UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from portico.gateway.fast.client import FastConnection

Response = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]


class Exchange(ABC):
    """One request in progress. It holds a place, and is counted by its rate.

    Args:
        client: The client's connection.
        known: What is known of the request.
        head: The request's head.
        sent: The same as bytes, for the ASGI plane.
        ids: Its identifiers.
        verdict: The rate limit's verdict.
    """

    __slots__ = (
        "_verdict",
        "access",
        "began",
        "client",
        "deadline",
        "head",
        "ids",
        "known",
        "left",
        "plane",
        "sent",
    )

    def __init__(
        self,
        client: "FastConnection",
        known: KnownRequest,
        head: RequestHead,
        sent: bytes,
        ids: RequestIds,
        verdict: Verdict,
    ) -> None:
        decision = known.decision
        principal = known.caller.principal
        self.began = time.perf_counter()
        self.deadline = self.began + decision.timeout
        self.client = client
        self.plane = client.plane
        self.known = known
        self.head = head
        self.sent = sent
        self.ids = ids
        self.access = AccessRecord(
            head.method,
            head.path.decode("ascii"),
            ids.request_id,
            ids.span.context.trace_id,
            decision.client,
            decision.route.path,
            decision.route.service,
            None if principal is None else principal.subject,
        )
        self._verdict = verdict
        self.left = -1  # bytes of the body that are to come; -1 until the response has begun

    @abstractmethod
    def start(self) -> None:
        """Send the request to the service."""

    @abstractmethod
    def abandon(self) -> None:
        """Let the service know that nothing reads its response."""

    @abstractmethod
    def response(self) -> tuple[str, Response]:
        """Give the response to the ASGI plane. Return the instance that was tried, and what waits for the response."""

    @abstractmethod
    def pause(self) -> None:
        """Make the service pause: the client reads more slowly than it writes."""

    @abstractmethod
    def resume(self) -> None:
        """Let the service go on."""

    # Steps of the response

    def begin(self, answer: AnswerHead) -> bytes:
        """Begin the response, and return its head."""
        access = self.access
        self.left = answer.length
        access.status = answer.status
        access.upstream_seconds = time.perf_counter() - self.began
        known, client = self.known, self.client
        return b"".join(
            (
                answer.line,
                self.plane.encoded_once(client.server_state.default_headers),
                answer.fields,
                b"x-request-id: %b\r\n" % self.ids.request_id.encode(),
                known.cors_bytes_varied if answer.varies_by_origin else known.cors_bytes,
                encoded(self._verdict.fields()),
                b"connection: close\r\n\r\n" if client.is_ending else b"\r\n",
            )
        )

    def progress(self) -> None:
        """A part of the body was forwarded: its time limit begins again."""
        self.deadline = time.perf_counter() + self.known.decision.timeout

    def complete(self) -> None:
        """The response is complete, and the connection can serve the next request."""
        self.plane.forwarded += 1
        self.plane.proxy.budgets[self.known.decision.route.service].called()
        self._end(Outcome.COMPLETE)
        self.client.exchange_ended(self)

    def break_off(self, outcome: Outcome) -> None:
        """The response cannot be completed. The client sees that, because its connection is closed."""
        self._end(outcome)
        self.client.exchange_broken(self)

    def client_lost(self) -> None:
        """The client has disconnected."""
        self.abandon()
        self.access.status = self.access.status or CLIENT_GONE
        self._end(Outcome.CLIENT_GONE)

    def time_out(self) -> None:
        """The time for the beginning of the response, or for the next part of its body, is over."""
        if self.left < 0:
            self.hand_over()  # the time that remains is over there too
        else:
            self.abandon()
            self.break_off(Outcome.STALLED)

    def hand_over(self, *, is_tried: bool = True) -> None:
        """Let the ASGI plane continue. The request keeps its place; the rate and the caller are not checked again."""
        first = FirstAttempt(self.began)
        if is_tried:
            instance, first.response = self.response()
            first.tried.add(instance)
        added = [(b"x-request-id", self.ids.request_id.encode()), *self.known.cors, *self._verdict.fields()]
        request = ProxyRequest(self.head, self.ids, self.access, added, self.known.decision.route)
        self.plane.sweep.busy.discard(self)
        self.client.resume_asgi(self, request, first)

    def abandon_before_asgi(self) -> None:
        """The ASGI plane did not accept the request."""
        self.abandon()
        self._end(Outcome.CLIENT_GONE)

    def _end(self, outcome: Outcome) -> None:
        plane, access = self.plane, self.access
        access.outcome = outcome.value
        access.attempts = 1
        plane.sweep.busy.discard(self)
        plane.places.release(self.known.holder)
        plane.proxy.record(access, self.ids.span, self.began)
