"""One connection. HTTP/1.1 is read with limits: uvicorn's own reading has none before a request reaches its app.

With the stock protocol one header field of any length fills the memory, a long target costs the square of its length
while every other request waits, and a head that never ends holds its connection for ever.
"""

import asyncio
import secrets
from asyncio.events import TimerHandle
from http import HTTPStatus
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from portico.kit.foundation.problems import BadRequest, Problem
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes

MOST_UNSPENT: Final = 65_536
HEAD_SECONDS: Final = 10.0


class HeadTooLong(Problem):
    status = 431
    detail = "The request's head, or what stands between its chunks, is longer than {limit} bytes."

    limit: int


class HeadTooSlow(Problem):
    status = 408
    detail = "The request's head was not whole within {seconds:.0f} s."

    seconds: float


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's protocol with two limits, whose refusals are problem documents.

    Attributes:
        most_unspent: Bytes that may come in a row without being part of a body: a head, chunk extensions, trailers.
        head_seconds: Seconds within which a head must be whole.
    """

    most_unspent: ClassVar[int] = MOST_UNSPENT
    head_seconds: ClassVar[float] = HEAD_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unspent = 0
        self._in_head = True
        self._waiting: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unspent += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # cut, or a WebSocket now
            self._forget_head()
        elif self._unspent > self.most_unspent:
            self._refuse(HeadTooLong(limit=self.most_unspent))
        elif self._in_head:
            self._watch_head()
        else:
            self._forget_head()
            self._keep_idle_short()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unspent = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unspent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unspent = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words say no more
        self._refuse(BadRequest(reason="it is not HTTP/1.1"))

    def _watch_head(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(
                self.head_seconds, self._refuse, HeadTooSlow(seconds=self.head_seconds)
            )

    def _forget_head(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    @property
    def _answering(self) -> bool:
        cycle = cast(
            "RequestResponseCycle | None", self.cycle
        )  # none before the first request, whatever uvicorn declares
        return cycle is not None and not cycle.response_complete

    def _keep_idle_short(self) -> None:
        """Empty lines between requests begin none, but uvicorn has stopped its clock for an idle connection."""
        if self.timeout_keep_alive_task is None and not self._answering:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _refuse(self, problem: Problem) -> None:
        """Answer, unless an answer is under way already, and close: where the next request begins is not known."""
        self._forget_head()
        if not self._answering:
            self.transport.write(_answer(problem))
        self.transport.close()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, to which a handshake that is refused with an answer is a whole one.

    The stock protocol sends the answer, and then logs the error of an app that never answered: once for each client
    that may not listen.
    """

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


def _answer(problem: Problem) -> bytes:
    body = problem_bytes(problem, instance="", request_id=secrets.token_hex(8))
    status = HTTPStatus(problem.status)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
