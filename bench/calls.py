"""Cost of a call between services: a plain function, the in-process channel, and HTTP over a loopback socket.

Caller and callee share one event loop and one core, so each figure is the work of both sides. Run it with `python
bench/calls.py`. Rounds are interleaved: compare the ratios, not the microseconds.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from portico.kit.calls.channel import Outgoing
from portico.kit.calls.client import Calls, Client, Summary
from portico.kit.calls.directory import Directory
from portico.kit.calls.http_channel import HttpChannel
from portico.kit.calls.local import LocalChannel
from portico.kit.calls.retries import RetryingChannel
from portico.testing.loopback import loopback_server

ROUNDS = 9
CALLS = 300
BODY = b'{"book_id":"book_01jz0000000000000000000000","title":"The Sea"}'

Work = Callable[[], Awaitable[Any]]


class BookSummary(Summary):
    book_id: str
    title: str


class BooksClient(Client, service="books"):
    async def read(self) -> BookSummary:
        return await self.get("/books/1", answer=BookSummary)


async def query() -> bytes:
    return BODY


async def app(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    body = await query()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def microseconds(work: Work) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        await work()
    return (time.perf_counter() - start) / CALLS * 1e6


async def interleaved(works: dict[str, Work]) -> dict[str, float]:
    """Return the median time (µs) of each kind of call, measured in interleaved rounds."""
    for work in works.values():
        await work()
    rounds = [{name: await microseconds(work) for name, work in works.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in works}


async def main() -> None:
    async with loopback_server(app) as url, aiohttp.ClientSession() as plain:
        local = LocalChannel({"books": app})
        socket = HttpChannel(Directory({"books": url}))
        here, there = Calls(RetryingChannel(local))(BooksClient), Calls(RetryingChannel(socket))(BooksClient)

        async def bare_aiohttp() -> bytes:
            async with plain.get(f"{url}/books/1") as answer:
                return await answer.read()

        medians = await interleaved(
            {
                "plain function": query,
                "LocalChannel": lambda: local.send(Outgoing("books", "GET", "/books/1")),
                "typed client in process": here.read,
                "aiohttp alone, by socket": bare_aiohttp,
                "HttpChannel": lambda: socket.send(Outgoing("books", "GET", "/books/1")),
                "typed client by socket": there.read,
            }
        )
        await local.aclose()
        await socket.aclose()
    print(f"{'call':<28}{'µs':>8}{'of aiohttp':>14}")
    for name, median in medians.items():
        print(f"{name:<28}{median:>8.1f}{median / medians['aiohttp alone, by socket']:>14.3f}")


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
