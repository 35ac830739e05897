"""Shutdown: close the resources of a host, a gateway or a process, even if one of them fails to close."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar

from portico.kit.telemetry.logs import get_logger

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

logger = get_logger(__name__)


class ShutdownStack(AsyncExitStack):
    """Exit stack that logs an error while closing a resource, and still closes the others.

    Such an error does not change the exit status of the process, because a slow server is not an error of the process.
    Errors in the block of `async with` are raised as usual, but resources do not receive them.
    """

    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, bool | None]) -> T:
        entered = await cm.__aenter__()
        self.push_async_callback(cm.__aexit__, None, None, None)
        return entered

    def push_async_callback(self, callback: Callable[P, Any], /, *args: P.args, **kwds: P.kwargs) -> Callable[P, Any]:
        super().push_async_callback(_close, partial(callback, *args, **kwds))
        return callback

    def callback(self, callback: Callable[P, R], /, *args: P.args, **kwds: P.kwargs) -> Callable[P, R]:
        super().push_async_callback(_close, partial(callback, *args, **kwds))
        return callback


async def _close(close: "partial[Any]") -> None:
    try:
        result = close()
        if isawaitable(result):
            await result
    except Exception:
        logger.exception("resource_not_closed", resource=getattr(close.func, "__qualname__", repr(close.func)))
