import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import NamedTuple

_EARLY = 0.1  # of its time to live: with less than that left, one caller makes an entry anew while others still get it

Make = Callable[[], Awaitable[bytes]]


class Entry(NamedTuple):
    """A cached value, and the seconds for which it will still be one."""

    value: bytes
    remaining: float


class Flight:
    """One making of a value, which callers that want the same wait for.

    `forgotten` once the key was deleted meanwhile: what is being made may be out of date, and must not be stored.
    """

    def __init__(self) -> None:
        self.forgotten = False
        self._landed: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> bytes | None:
        """The value; None where its maker was cancelled and another has to make it. Raises what its maker raised."""
        return await asyncio.shield(self._landed)

    def land(self, value: bytes | None) -> None:
        self._landed.set_result(value)

    def fail(self, error: Exception) -> None:
        self._landed.set_exception(error)
        self._landed.exception()  # seen: there may be nobody waiting


class Cache(ABC):
    """Values by key, for a while. What is not there is made again: a cache never fails its caller.

    Keys are short strings, values bytes, times to live seconds.
    """

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    async def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        entry = await self._look(key)
        return entry.value if entry is not None else None

    @abstractmethod
    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds; one too large is not kept."""

    async def delete(self, *keys: str) -> None:
        """Forget values, those too that are being made from what was true until now."""
        for key in keys:
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.forgotten = True
        await self._remove(keys)

    @abstractmethod
    async def incr(self, key: str) -> int:
        """Count up, and give the new number.

        It is greater than any given for this key before, also where the count was lost in between: an unknown one
        begins at the time of day.
        """

    @abstractmethod
    async def count(self, key: str) -> int | None:
        """The number that `incr` gave last, None where it is not known."""

    @abstractmethod
    async def check(self) -> None:
        """Raise unless the cache can be used; for health answers."""

    @abstractmethod
    async def aclose(self) -> None:
        """Give back what it holds."""

    async def get_or_make(self, key: str, make: Make, ttl: float) -> bytes:
        """The value, made by `make` and kept for `ttl` seconds where there is none.

        Of callers that want the same at once, one makes it, in its own task, since `make` may use what belongs to its
        request; the others wait. Shortly before an entry ends one caller makes it anew while the others still get
        the old one, so that a popular entry's end is no stampede.
        """
        while True:
            entry = await self._look(key)
            flight = self._flights.get(key)
            if entry is not None and (entry.remaining > ttl * _EARLY or flight is not None):
                return entry.value
            if flight is None:
                return await self._fly(key, make, ttl, entry)
            if (value := await flight.wait()) is not None:
                return value

    async def _fly(self, key: str, make: Make, ttl: float, old: Entry | None) -> bytes:
        flight = self._flights[key] = Flight()
        try:
            value = await self._make(key, make, ttl, old, flight)
        except Exception as error:
            flight.fail(error)
            raise
        except BaseException:
            flight.land(None)
            raise
        else:
            flight.land(value)
            return value
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _make(self, key: str, make: Make, ttl: float, old: Entry | None, flight: Flight) -> bytes:  # noqa: ARG002 - Redis uses `old`
        value = await make()
        if not flight.forgotten:
            await self.set(key, value, ttl)
        return value

    @abstractmethod
    async def _look(self, key: str) -> Entry | None: ...

    @abstractmethod
    async def _remove(self, keys: tuple[str, ...]) -> None: ...
