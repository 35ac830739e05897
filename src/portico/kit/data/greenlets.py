"""Call SQLAlchemy's synchronous API from coroutines without blocking the event loop."""

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

P = ParamSpec("P")
T = TypeVar("T")

_RUNNER: Final = AsyncSession()  # has no engine and no state; `run_sync` is SQLAlchemy's public way to enter a greenlet


async def run_in_greenlet(act: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call `act`. In it, engines, connections and sessions of an asyncio driver work like synchronous ones.

    An `AsyncConnection` enters a greenlet for each call. All calls in one `act` share one greenlet.
    """
    return await _RUNNER.run_sync(lambda _: act(*args, **named))
