"""Batched look-ups: concurrent callers share one request, and each gets the values of its own keys.

Batched calls have one response per call. Here the keys of all callers are looked up together, and a key that several
callers want is looked up once.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

Fetch = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]


@dataclass(eq=False, slots=True)
class _Caller(Generic[K, V]):
    keys: Sequence[K]
    found: "asyncio.Future[dict[K, V]]"
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class BatchedLookup(Generic[K, V]):
    """Looks up values by key for many callers with few requests: `await lookup.find(keys)`.

    There is no timer. A single caller is served at once. Callers that arrive while `concurrent` requests are in flight
    share the next request. A request begins after the calls that it serves, so a value is never older than the call.

    Args:
        fetch: looks up the given keys, and leaves out unknown ones. It runs in the context of the first caller.
        max_keys: maximum number of keys of one request, unless one caller wants more.
        concurrent: maximum number of simultaneous requests. With more than one, a slow request does not stop all
            others.
    """

    def __init__(self, fetch: Fetch[K, V], *, max_keys: int, concurrent: int = 2) -> None:
        self._fetch = fetch
        self._max_keys = max_keys
        self._concurrent = concurrent
        self._callers: deque[_Caller[K, V]] = deque()
        self._requests: set[asyncio.Task[None]] = set()

    async def find(self, keys: Iterable[K]) -> dict[K, V]:
        """Return the values of the known keys.

        Raises:
            Exception: what `fetch` raised for the request of this caller.
        """
        loop = asyncio.get_running_loop()
        caller = _Caller[K, V](tuple(dict.fromkeys(keys)), loop.create_future())
        if not self._callers:
            loop.call_soon(self._start, context=contextvars.Context())
        self._callers.append(caller)
        return await caller.found

    async def close(self) -> None:
        """Cancel the requests in flight and the waiting callers."""
        callers, self._callers = self._callers, deque()
        for caller in callers:
            caller.found.cancel()
        requests = set(self._requests)
        for request in requests:
            request.cancel()
        if requests:
            await asyncio.wait(requests)

    def _start(self) -> None:
        while len(self._requests) < self._concurrent and (callers := self._next()):
            request = asyncio.create_task(self._serve(callers), context=callers[0].context)
            self._requests.add(request)
            request.add_done_callback(self._ended)

    def _ended(self, request: asyncio.Task[None]) -> None:
        self._requests.discard(request)
        self._start()

    def _next(self) -> list[_Caller[K, V]]:
        """Return the callers of the next request, oldest first: as many as have `max_keys` keys together."""
        callers: list[_Caller[K, V]] = []
        keys: set[K] = set()
        while self._callers:
            caller = self._callers[0]
            if callers and len(keys.union(caller.keys)) > self._max_keys:
                break
            self._callers.popleft()
            if not caller.found.done():
                callers.append(caller)
                keys.update(caller.keys)
        return callers

    async def _serve(self, callers: Sequence[_Caller[K, V]]) -> None:
        try:
            found = await self._fetch(list(dict.fromkeys(key for caller in callers for key in caller.keys)))
        except asyncio.CancelledError:
            for caller in callers:
                caller.found.cancel()
            raise
        except Exception as error:  # noqa: BLE001  # passed to each caller
            for caller in callers:
                if not caller.found.done():
                    caller.found.set_exception(error)
            return
        for caller in callers:
            if not caller.found.done():
                caller.found.set_result({key: found[key] for key in caller.keys if key in found})
