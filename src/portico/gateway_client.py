"""Client of a system's gateway, with retries. The drill, the demo, benchmarks and tests use it."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from types import TracebackType
from typing import Any, ClassVar, Final, Protocol, Self

import aiohttp
import orjson

from portico.kit.calls.channel import Channel, Outgoing
from portico.kit.calls.errors import CallFailed

TIMEOUT: Final = 30.0  # seconds for one request
MAX_RETRY_AFTER: Final = 90.0  # seconds of a Retry-After header that are obeyed at most
_RETRIED_WITH_RETRY_AFTER = {HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class ExpectationFailed(Exception):
    """The system did not respond as it promises."""


class NoResponse(ExpectationFailed):
    """A request had no response, or no final one; or a WebSocket ended early."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. Header names are in lower case; `seconds` is how long it took."""

    request: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float = 0.0

    def json(self) -> Any:
        """Return the body as JSON. Raises ExpectationFailed."""
        try:
            return orjson.loads(self.content)
        except ValueError as error:
            raise ExpectationFailed(f"{self.request}: {self.status} with a body that is not JSON") from error

    def expect(self, status: int, /, **members: Any) -> Self:
        """Return this response if it has this status and its body these members. Raises ExpectationFailed."""
        if self.status != status:
            raise ExpectationFailed(f"{self.request}: expected status {status}, got {self.status}: {self.text(400)}")
        for name, value in members.items():
            if (found := self.json().get(name)) != value:
                raise ExpectationFailed(f"{self.request}: expected {name}={value!r}, got {found!r}")
        return self

    def text(self, length: int) -> str:
        """Return the beginning of the body, on one line."""
        return shorten(self.content.decode("utf-8", "replace"), length)

    @property
    def retry_after(self) -> float:
        """Seconds of the Retry-After header; 0 without one."""
        value = self.headers.get("retry-after", "")
        return min(float(value), MAX_RETRY_AFTER) if value.isdigit() else 0.0

    @property
    def is_final(self) -> bool:
        """Whether repeating the request would not help. A 5xx and a 409, 425 or 429 with Retry-After are not final."""
        may_retry = self.status in _RETRIED_WITH_RETRY_AFTER and "retry-after" in self.headers
        return self.status < HTTPStatus.INTERNAL_SERVER_ERROR and not may_retry


class Transport(Protocol):
    """Sends requests to the gateway."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Response:
        """Send one request. Raises NoResponse."""
        ...


class ChannelTransport:
    """Sends requests through a channel of the kit, which may lead to a gateway in this process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def send(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Response:
        target, _, query = path.partition("?")
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        request = Outgoing("gateway", method, target, query.encode(), encoded, content, timeout=TIMEOUT)
        try:
            incoming = await self._channel.send(request)
        except CallFailed as error:
            raise NoResponse(f"{method} {path}: {error}") from error
        received = {name.decode(): value.decode("latin-1") for name, value in incoming.headers}
        return Response(f"{method} {path}", incoming.status, received, incoming.body)


class HttpTransport:
    """Sends requests to a gateway over HTTP, and follows WebSockets; used in `async with`.

    Args:
        base: address of the gateway. Paths are relative to it; whole URLs are requested as they are.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        connector = aiohttp.TCPConnector(limit=0)  # open WebSockets must not block requests
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("HttpTransport is used in `async with`")
        return self._session

    async def send(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Response:
        url = path if path.startswith("http") else self.base + path
        started_at = time.perf_counter()
        try:
            async with self.session.request(
                method, url, data=BytesIO(content) if content else None, headers=headers
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoResponse(f"{method} {path}: no response ({type(error).__name__})") from error
        received = {name.lower(): value for name, value in response.headers.items()}
        seconds = time.perf_counter() - started_at
        return Response(f"{method} {path}", response.status, received, body, seconds)

    async def messages(self, path: str, headers: Mapping[str, str]) -> AsyncGenerator[Any, None]:
        """Yield the JSON messages of a WebSocket until it closes. Raises NoResponse if the connection fails."""
        try:
            async with self.session.ws_connect(self.base + path, headers=headers) as socket:
                async for message in socket:
                    yield orjson.loads(message.data)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoResponse(f"WebSocket {path}: {error!r}") from error

    async def events(self, path: str, headers: Mapping[str, str]) -> AsyncGenerator[Any, None]:
        """Yield the JSON data of server-sent events until the stream ends. Raises NoResponse if the connection fails."""
        sent = {**headers, "accept": "text/event-stream"}
        try:
            async with self.session.get(self.base + path, headers=sent, timeout=aiohttp.ClientTimeout()) as response:
                if response.status != HTTPStatus.OK:
                    raise NoResponse(f"event stream {path}: {response.status}")
                async for line in response.content:
                    if line.startswith(b"data:"):
                        yield orjson.loads(line.removeprefix(b"data:"))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoResponse(f"event stream {path}: {error!r}") from error


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a client repeats requests without a final response.

    Args:
        within: seconds until it gives up; time spent waiting as a 429 demands is not counted.
        min_delay: seconds between attempts, at least.
        max_delay: seconds between attempts, at most. The pause is random, so that clients do not retry at the same time.
        obeys_retry_after: whether it also waits as long as the Retry-After header says.
    """

    within: float = 120.0
    min_delay: float = 0.05
    max_delay: float = 1.0
    obeys_retry_after: bool = True

    def pause(self) -> float:
        return random.uniform(self.min_delay, self.max_delay)  # noqa: S311  # not a secret


def _ignore(_outcome: Response | NoResponse) -> None:
    """Do nothing about a repeated request."""


@dataclass(frozen=True)
class GatewayClient:
    """A client of a gateway, anonymous or signed in.

    Args:
        transport: sends the requests.
        token: access token; empty for an anonymous client.
        user_id: of the account.
        retry: how requests are repeated.
        on_retry: called with each outcome that is not final, before the request is repeated.
    """

    transport: Transport
    token: str = ""
    user_id: str = ""
    ticket_path: ClassVar[str] = "/auth/tickets"
    """Where one-time tickets for WebSockets are made."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_retry: Callable[[Response | NoResponse], None] = _ignore

    async def request(
        self, method: str, path: str, body: Any = None, *, key: str = "", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request with a JSON body; `key` is its Idempotency-Key. Raises NoResponse."""
        sent = {**self.authorization, **(headers or {})}
        if body is not None:
            sent["content-type"] = "application/json"
        if key:
            sent["idempotency-key"] = key
        return await self.transport.send(method, path, sent, b"" if body is None else orjson.dumps(body))

    async def request_until_final(
        self, method: str, path: str, body: Any = None, *, key: str = "", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request, and repeat it until its response is final.

        Args:
            method: of the request.
            path: of the request.
            body: a JSON body.
            key: Idempotency-Key, so that a repeated POST has one effect.
            headers: more headers.

        Raises:
            NoResponse: there was no final response in time.
        """
        until = time.monotonic() + self.retry.within
        while True:
            wait = 0.0
            try:
                response = await self.request(method, path, body, key=key, headers=headers)
            except NoResponse as error:
                outcome: Response | NoResponse = error
                reason = str(error)
            else:
                if response.is_final:
                    return response
                outcome, reason = response, f"{response.status} {response.text(200)}"
                wait = response.retry_after if self.retry.obeys_retry_after else 0.0
                if response.status == HTTPStatus.TOO_MANY_REQUESTS:
                    until += wait + self.retry.max_delay
            if time.monotonic() + wait > until:
                raise NoResponse(f"{method} {path}: no final response in {self.retry.within:.0f} s; last: {reason}")
            self.on_retry(outcome)
            await asyncio.sleep(wait + self.retry.pause())

    async def get(self, path: str) -> Any:
        """Return the JSON of a resource. Raises ExpectationFailed unless the status is 200."""
        return (await self.request_until_final("GET", path)).expect(HTTPStatus.OK).json()

    async def follow(self, path: str, until: Callable[[Any], bool]) -> dict[str, Any]:
        """Return the first message of a WebSocket for which `until` holds. Connect with a ticket, as a browser does.

        Args:
            path: of the WebSocket.
            until: returns whether a message is the last one to wait for.

        Raises:
            NoResponse: the connection fails, or closes before that.
            TimeoutError: there is no such message within the time of the retry policy.
        """
        transport = self.transport
        if not isinstance(transport, HttpTransport):
            raise TypeError("follow needs an HttpTransport")
        ticket = (await self.request("POST", self.ticket_path)).expect(HTTPStatus.CREATED).json()["ticket"]
        path = f"{path}?ticket={ticket}"
        async with asyncio.timeout(self.retry.within), aclosing(transport.messages(path, {})) as messages:
            async for message in messages:
                if until(message):
                    found: dict[str, Any] = message
                    return found
        raise NoResponse(f"WebSocket {path}: closed early")

    @property
    def authorization(self) -> dict[str, str]:
        """The header with the access token."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


def shorten(text: str, length: int) -> str:
    """Return `text` on one line of at most `length` characters."""
    text = text.replace("\n", " ")
    return text if len(text) <= length else text[: length - 1] + "…"


def next_link(header: str) -> str | None:
    """Return the address of the next page in a `Link` header (RFC 8288)."""
    for link in header.split(", "):
        address, _, relation = link.partition("; ")
        if relation == 'rel="next"':
            return address.strip("<>")
    return None
