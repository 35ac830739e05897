"""A walk: calls that are printed with their answers, and expectations that end it where they fail."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from rich.console import Console
from rich.text import Text

_PATIENCE = aiohttp.ClientTimeout(total=30)
_LONGEST_WAIT = 90.0  # seconds that a 429 or 503 may send us away for
_CLOSELY = 0.05  # seconds between two looks at something that is about to change
_PERSISTENCE = 120.0  # seconds that somebody comes again who gets no final answer
_PAUSE = 1.0  # seconds until then, at most
_COME_AGAIN = {HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}  # with Retry-After


class NotAsItShouldBe(Exception):
    """An answer differs from what the system promises."""


class NoAnswer(NotAsItShouldBe):
    """Nobody answered."""


@dataclass(frozen=True)
class Answer:
    """What came back from a call. Header names are in lower case."""

    call: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float

    def json(self) -> Any:
        """The body as JSON. Raises NotAsItShouldBe."""
        try:
            return orjson.loads(self.content)
        except ValueError as error:
            raise NotAsItShouldBe(f"{self.call} answered {self.status} with a body that is not JSON") from error

    def expect(self, status: int, /, **members: Any) -> "Answer":
        """This answer, where it has this status and its body these members. Raises NotAsItShouldBe."""
        if self.status != status:
            raise NotAsItShouldBe(f"{self.call} should answer {status}, and answered {self.status}: {self.text(400)}")
        for name, value in members.items():
            found = self.json().get(name)
            if found != value:
                raise NotAsItShouldBe(f"{self.call} should say {name}={value!r}, and says {found!r}")
        return self

    def text(self, length: int) -> str:
        """The beginning of the body."""
        return _shortened(self.content.decode("utf-8", "replace"), length)


@dataclass
class Walk:
    """Calls to a running system, printed as they are made.

    Args:
        console: where to.
        base: the address of the gateway; paths are below it, whole addresses are taken as they are.
    """

    console: Console
    base: str
    calls: int = 0
    waited: float = 0.0
    repeats: int = 0
    _seconds: list[float] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None
    _some_wait: bool = False

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # who follows an order must not keep others from calling
            timeout=_PATIENCE,
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def chapter(self, title: str) -> None:
        """Begin the next part of the walk."""
        self.console.print()
        self.console.print(Text(title, style="bold"))

    def tell(self, sentence: str) -> None:
        """Say what was found."""
        self.console.print(Text("  ✓ ", style="green"), Text(sentence), sep="", soft_wrap=True)

    def check(self, holds: bool, sentence: str) -> None:
        """Say `sentence` where it holds. Raises NotAsItShouldBe where it does not."""
        if not holds:
            raise NotAsItShouldBe(f"It should be so, and is not: {sentence}")
        self.tell(sentence)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> Answer:
        """Make a call, retry it after 429, and print it unless `quiet`."""
        while True:
            answer = await self._once(method, path, json, {**(headers or {}), **_bearer(token)})
            if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                break
            pause = float(answer.headers.get("retry-after", "1"))
            if pause > _LONGEST_WAIT:
                raise NotAsItShouldBe(f"{answer.call} asks to come again in {pause:.0f} s")
            self.console.print(Text(f"  … {answer.call} says 429: waiting {pause:.0f} s, as it asks", style="yellow"))
            self.waited += pause
            await asyncio.sleep(pause)
        if not quiet:
            self._print(answer)
        return answer

    async def insist(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        token: str | None = None,
        key: str | None = None,
        within: float = _PERSISTENCE,
    ) -> Answer:
        """Make a call again and again until its answer is final; only that some wait is printed.

        A missing response, a 5xx and a response with Retry-After are not final.

        Args:
            method: of the request.
            path: of the request.
            json: its body.
            token: who asks.
            key: goes along as Idempotency-Key, so that a POST has one effect however often it is sent.
            within: seconds to go on for.

        Raises:
            NotAsItShouldBe: there was no final answer in that time.
        """
        headers = _bearer(token) | ({} if key is None else {"idempotency-key": key})
        until = time.perf_counter() + within
        while True:
            try:
                answer = await self._once(method, path, json, headers)
            except NoAnswer as error:
                said, pause = str(error), 0.0
            else:
                asked = answer.headers.get("retry-after")
                if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and not (asked and answer.status in _COME_AGAIN):
                    return answer
                said, pause = f"{answer.status} {answer.text(200)}", _seconds(asked)
                if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                    self._wait_as_asked(pause)
                    until += pause + _PAUSE  # who does as the limit asks is not refused for it
            if time.perf_counter() + pause > until:
                raise NotAsItShouldBe(f"{method} {path} has no final answer after {within:.0f} s; last came: {said}")
            self.repeats += 1
            await asyncio.sleep(pause + random.uniform(_CLOSELY, _PAUSE))  # noqa: S311  # so that not all come at once

    async def follow(
        self,
        path: str,
        *,
        token: str,
        until: Callable[[Any], bool],
        within: float = _PERSISTENCE,
        quiet: bool = False,
    ) -> list[Any]:
        """What a WebSocket tells, up to what `until` holds of; each is printed unless `quiet`.

        Raises:
            NoAnswer: it broke off, or told nothing like that within so many seconds.
        """
        session, told = self._open_session(), list[Any]()
        try:
            async with asyncio.timeout(within), session.ws_connect(self.base + path, headers=_bearer(token)) as socket:
                async for message in socket:
                    told.append(orjson.loads(message.data))
                    if not quiet:
                        self.console.print(Text(f"  ↯ {_shortened(message.data, 120)}", style="cyan"), no_wrap=True)
                    if until(told[-1]):
                        return told
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"WS {path} broke off after {len(told)} messages: {error!r}") from error
        raise NoAnswer(f"WS {path} ended early; it told {told}")

    async def until(
        self, look: Callable[[], Awaitable[bool]], *, within: float, what: str, every: float = _CLOSELY
    ) -> float:
        """Look, `every` so many seconds, until it holds; the seconds it took. Raises NotAsItShouldBe after `within` seconds."""
        began = time.perf_counter()
        while not await look():
            if time.perf_counter() - began > within:
                raise NotAsItShouldBe(f"After {within:g} s it is still not so that {what}")
            await asyncio.sleep(every)
        return time.perf_counter() - began

    def summary(self) -> str:
        """How many calls were made, and how long they took."""
        ordered = sorted(self._seconds)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000
        return f"{self.calls} calls, median {statistics.median(ordered) * 1000:.1f} ms, p99 {p99:.1f} ms"

    async def _once(self, method: str, path: str, json: Any, headers: dict[str, str]) -> Answer:
        session = self._open_session()
        address = path if path.startswith("http") else self.base + path
        began = time.perf_counter()
        try:
            async with session.request(method, address, json=json, headers=headers) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"{method} {path} got no answer: {type(error).__name__}") from error
        seconds = time.perf_counter() - began
        self.calls += 1
        self._seconds.append(seconds)
        received = {name.lower(): value for name, value in response.headers.items()}
        return Answer(f"{method} {path}", response.status, received, content, seconds)

    def _wait_as_asked(self, pause: float) -> None:
        """Say once that some wait, not for each of many."""
        if not self._some_wait:
            self.console.print(Text("  … some calls are answered 429: they wait as it asks", style="yellow"))
        self._some_wait = True
        self.waited += pause

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a walk is used in `async with`")
        return self._session

    def _print(self, answer: Answer) -> None:
        colour = (
            "green"
            if answer.status < HTTPStatus.BAD_REQUEST
            else "yellow"
            if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
            else "red"
        )
        line = Text("  ")
        line.append(f"{answer.status} ", style=colour)
        line.append(f"{answer.call}  ")
        line.append(f"{answer.seconds * 1000:.0f} ms  {answer.text(100)}", style="dim")
        self.console.print(line, overflow="ellipsis", no_wrap=True)


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


def _seconds(retry_after: str | None) -> float:
    return min(float(retry_after), _LONGEST_WAIT) if retry_after and retry_after.isdigit() else 0.0


def _shortened(text: str, length: int) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= length else text[: length - 1] + "…"
