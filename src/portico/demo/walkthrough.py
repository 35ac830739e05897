"""A walkthrough: requests that are printed with their responses, and expectations that end it if they fail."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from rich.console import Console
from rich.text import Text

from portico.gateway_client import (
    MAX_RETRY_AFTER,
    ExpectationFailed,
    GatewayClient,
    HttpTransport,
    NoResponse,
    Response,
    RetryPolicy,
    shorten,
)
from portico.shop_client import ShopClient

C = TypeVar("C", bound=GatewayClient)

_POLL = 0.05  # seconds
_TIMEOUT = 120.0  # seconds
_RECONNECT = (1.0, 3.0)  # seconds, at least and at most


@dataclass
class Walk:
    """Requests to a running system, which are printed.

    Args:
        console: where to print.
        base: address of the gateway. Paths are relative to it; whole URLs are requested as they are.
    """

    console: Console
    base: str
    calls: int = 0
    retries: int = 0
    _seconds: list[float] = field(default_factory=list)
    _has_waited: bool = False

    def __post_init__(self) -> None:
        self._http = HttpTransport(self.base)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    def section(self, title: str) -> None:
        """Begin the next section."""
        self.console.print()
        self.console.print(Text(title, style="bold"))

    def report(self, sentence: str) -> None:
        """Print a result."""
        self.console.print(Text("  ✓ ", style="green"), Text(sentence), sep="", soft_wrap=True)

    def check(self, holds: bool, sentence: str) -> None:
        """Print `sentence` if it holds. Raises ExpectationFailed otherwise."""
        if not holds:
            raise ExpectationFailed(f"Expected: {sentence}")
        self.report(sentence)

    def client(self, token: str = "", *, within: float = _TIMEOUT) -> ShopClient:
        """As `client_of`, for commerce."""
        return self.client_of(ShopClient, token, within=within)

    def client_of(self, kind: type[C], token: str = "", *, within: float = _TIMEOUT) -> C:
        """Return a client whose requests are counted but not printed, and repeated for `within` seconds."""
        return kind(self, token, retry=RetryPolicy(within), on_retry=self._count_retry)

    async def send(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Response:
        """Send one request, and count it. Raises NoResponse."""
        response = await self._http.send(method, path, headers, content)
        self.calls += 1
        self._seconds.append(response.seconds)
        return response

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> Response:
        """Send a request, repeat it after a 429, and print it unless `quiet`."""
        client = GatewayClient(self, token)
        while True:
            response = await client.request(method, path, json, headers=headers)
            if response.status != HTTPStatus.TOO_MANY_REQUESTS:
                break
            pause = float(response.headers.get("retry-after", "1"))
            if pause > MAX_RETRY_AFTER:
                raise ExpectationFailed(f"{response.request}: rate limited, retry after {pause:.0f} s")
            self.console.print(
                Text(f"  … {response.request}: rate limited (429), waiting {pause:.0f} s", style="yellow")
            )
            await asyncio.sleep(pause)
        if not quiet:
            self._print(response)
        return response

    async def follow(
        self,
        path: str,
        *,
        token: str,
        until: Callable[[Any], bool],
        within: float = _TIMEOUT,
        quiet: bool = False,
    ) -> list[Any]:
        """Return the messages of a WebSocket up to the first for which `until` holds; print each unless `quiet`.

        Raises:
            NoResponse: the connection failed, or no such message came within `within` seconds.
        """
        received: list[Any] = []
        headers = GatewayClient(self, token).authorization
        try:
            async with asyncio.timeout(within), aclosing(self._http.messages(path, headers)) as messages:
                async for message in messages:
                    received.append(message)
                    if not quiet:
                        text = shorten(orjson.dumps(message).decode(), 120)
                        self.console.print(Text(f"  ↯ {text}", style="cyan"), no_wrap=True)
                    if until(message):
                        return received
        except (NoResponse, TimeoutError) as error:
            raise NoResponse(f"WebSocket {path} failed after {len(received)} messages: {error!r}") from error
        raise NoResponse(f"WebSocket {path} closed early, after {received}")

    async def next_event(self, path: str, *, token: str, until: Callable[[Any], bool]) -> Any:
        """Return the data of the first server-sent event for which `until` holds. Connect again if the stream ends."""
        headers = GatewayClient(self, token).authorization
        while True:
            try:
                async with aclosing(self._http.events(path, headers)) as events:
                    async for event in events:
                        if until(event):
                            return event
            except NoResponse:
                self.retries += 1
            await asyncio.sleep(random.uniform(*_RECONNECT))  # noqa: S311  # not a secret

    async def until(
        self, condition: Callable[[], Awaitable[bool]], *, within: float, what: str, every: float = _POLL
    ) -> float:
        """Check a condition until it holds.

        Args:
            condition: what to check.
            within: seconds before it gives up.
            what: the condition, as a sentence.
            every: seconds between checks.

        Returns:
            the seconds that it took.

        Raises:
            ExpectationFailed: the condition does not hold in time.
        """
        started_at = time.perf_counter()
        while not await condition():
            if time.perf_counter() - started_at > within:
                raise ExpectationFailed(f"Expected within {within:g} s: {what}")
            await asyncio.sleep(every)
        return time.perf_counter() - started_at

    def summary(self) -> str:
        """Return the number of requests and their latencies."""
        ordered = sorted(self._seconds)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000
        return f"{self.calls} requests, median {statistics.median(ordered) * 1000:.1f} ms, p99 {p99:.1f} ms"

    def _count_retry(self, outcome: Response | NoResponse) -> None:
        self.retries += 1
        is_limited = isinstance(outcome, Response) and outcome.status == HTTPStatus.TOO_MANY_REQUESTS
        if is_limited and not self._has_waited:
            self._has_waited = True
            self.console.print(Text("  … some requests are rate limited (429), and wait as required", style="yellow"))

    def _print(self, response: Response) -> None:
        colour = (
            "green"
            if response.status < HTTPStatus.BAD_REQUEST
            else "yellow"
            if response.status < HTTPStatus.INTERNAL_SERVER_ERROR
            else "red"
        )
        line = Text("  ")
        line.append(f"{response.status} ", style=colour)
        line.append(f"{response.request}  ")
        line.append(f"{response.seconds * 1000:.0f} ms  {response.text(100)}", style="dim")
        self.console.print(line, overflow="ellipsis", no_wrap=True)
