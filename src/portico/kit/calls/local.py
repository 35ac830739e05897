"""Channel to services in this process, without sockets."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

from portico.kit.calls.addresses import InstanceAddress
from portico.kit.calls.breaker import DEFAULT_CONFIG, Breaker, BreakerConfig
from portico.kit.calls.channel import Headers, Incoming, Outgoing
from portico.kit.calls.directory import InstanceLease, InstanceState, Pool
from portico.kit.calls.errors import CallTimedOut, ConnectionLost, ResponseTooLarge, Saturated, Unreachable
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class LocalChannel:
    """Calls the apps of this process with the behaviour of a socket.

    The app runs in its own task and an empty context: it sees no transaction, log fields or span of the caller. An
    exception becomes a 500. If the caller is cancelled, the app receives a disconnect, and its commit is not cancelled.
    A streamed response is read completely, up to the limit.

    Args:
        apps: ASGI applications by service name. It is read at each call and may change.
        max_in_flight: maximum number of concurrent calls; further calls are rejected.
        response_limit: maximum size (bytes) of a response.
        config: thresholds of the services' breakers.
        monotonic: the breakers' clock, in seconds; by default the event loop's.
    """

    def __init__(
        self,
        apps: Mapping[str, App],
        *,
        max_in_flight: int = 512,
        response_limit: int = 8 * 1024 * 1024,
        config: BreakerConfig = DEFAULT_CONFIG,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._apps = apps
        self._max_in_flight = max_in_flight
        self._answer_limit = response_limit
        self._new_breaker = lambda: Breaker(config, monotonic) if monotonic else Breaker(config)
        self._pools: dict[str, Pool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def send(self, out: Outgoing) -> Incoming:
        """Call the service's app. Raises CallFailed, see `Channel`."""
        if self._closing:
            raise Unreachable(out.service, "the channel is closing")
        if len(self._tasks) >= self._max_in_flight:
            raise Saturated(out.service, limit=self._max_in_flight)
        with self._pool(out.service).lease() as lease:
            app = self._apps.get(out.service)
            if app is None:
                lease.record_failure()
                raise Unreachable(out.service, "it does not run in this process")
            return await self._answer(app, out, lease)

    async def _answer(self, app: App, out: Outgoing, lease: InstanceLease) -> Incoming:
        exchange = _Exchange(out, self._answer_limit)
        task = asyncio.create_task(exchange.run(app), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(out.timeout):
                answer = await exchange.answer
        except TimeoutError:
            lease.record_failure()
            raise CallTimedOut(
                out.service, f"no response to {out.method} {out.path} within {out.timeout:.3f} s"
            ) from None
        except ConnectionLost:
            lease.record_failure()
            raise
        except ResponseTooLarge:
            lease.record_success()
            raise
        lease.record_success()
        return answer

    def states(self, service: str | None = None) -> tuple[InstanceState, ...]:
        """Return the breakers of the services called so far, or of one."""
        pools = list(self._pools.values()) if service is None else filter(None, [self._pools.get(service)])
        return tuple(state for pool in pools for state in pool.states())

    async def aclose(self, grace: float = 0.0) -> None:
        """Reject new calls, and wait `grace` seconds before cancelling those in progress."""
        self._closing = True
        if self._tasks and grace > 0:
            await asyncio.wait(set(self._tasks), timeout=grace)
        rest = set(self._tasks)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _pool(self, service: str) -> Pool:
        pool = self._pools.get(service)
        if pool is None:
            pool = self._pools[service] = Pool(service, self._new_breaker)
            pool.update([InstanceAddress("local", service, 0, service)])
        return pool


class _Exchange:
    """One request and its response, from the app's point of view. It is over when `answer` is done."""

    __slots__ = ("_body", "_chunks", "_headers", "_limit", "_out", "_size", "_status", "answer")

    def __init__(self, out: Outgoing, limit: int) -> None:
        self.answer: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        self._out = out
        self._limit = limit
        self._body: bytes | None = out.body
        self._status = 0
        self._headers: Headers = []
        self._chunks: list[bytes] = []
        self._size = 0

    async def run(self, app: App) -> None:
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception as error:
            logger.exception("local_call_failed", target=self._out.service, exc_info=error)
        finally:
            self._finish()

    def _scope(self) -> dict[str, Any]:
        out = self._out
        headers = [(b"host", out.service.encode()), *out.headers_with_deadline()]
        if out.body:
            headers.append((b"content-length", b"%d" % len(out.body)))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},  # as in uvicorn, so that streams detect a disconnect
            "http_version": "1.1",
            "method": out.method,
            "scheme": "http",
            "path": unquote(out.path),
            "raw_path": out.path.encode("ascii"),
            "query_string": out.query,
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": (out.service, 80),
        }

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.answer.done():
            await asyncio.wait([self.answer])  # unlike `await`, this does not cancel the future with this task
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.answer.done():
            await asyncio.sleep(0)  # the caller is gone, but an endless stream must still let other tasks run
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        elif not self._status:
            raise RuntimeError(f"{message['type']} sent before http.response.start")
        elif message["type"] == "http.response.body":
            self._append(message.get("body", b""))
            if not message.get("more_body", False) and not self.answer.done():
                self.answer.set_result(Incoming(self._status, self._headers, b"".join(self._chunks)))

    def _append(self, chunk: bytes) -> None:
        if self._out.method == "HEAD":
            return  # a response to HEAD has no body, whatever the app sends (RFC 9110 section 9.3.2)
        self._size += len(chunk)
        if self._size > self._limit:
            self._fail(ResponseTooLarge(self._out.service, limit=self._limit))
            return
        self._chunks.append(chunk)

    def _finish(self) -> None:
        """Fail the call if the app ended without a complete response: 500, or a lost connection if it had begun."""
        if self.answer.done():
            return
        if self._status or (task := asyncio.current_task()) is None or task.cancelling():
            self._fail(ConnectionLost(self._out.service, "the response was incomplete"))
        else:
            plain = [(b"content-type", b"text/plain; charset=utf-8")]
            self.answer.set_result(Incoming(500, plain, b"Internal Server Error"))

    def _fail(self, error: Exception) -> None:
        self.answer.set_exception(error)
        self.answer.exception()  # marks the exception as retrieved, so that asyncio does not log it if the caller is gone
