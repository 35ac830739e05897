"""SQLAlchemy's synchronous API in coroutines: the event loop awaits what SQLAlchemy waits for inside."""

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

P = ParamSpec("P")
T = TypeVar("T")

_RUNNER: Final = AsyncSession()  # without an engine and without state: `run_sync` is SQLAlchemy's public entry


async def run_in_greenlet(act: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call `act`, in which engines, connections and sessions of an asyncio driver work as synchronous ones do.

    An `AsyncConnection` enters a greenlet for each of its calls; several of SQLAlchemy's calls in one `act` share one.
    """
    return await _RUNNER.run_sync(lambda _: act(*args, **named))
