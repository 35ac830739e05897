"""Choose the cache of a service: in memory or in Redis."""

from portico.kit.cache.base import Cache
from portico.kit.cache.memory import MemoryCache
from portico.kit.foundation.clock import Clock
from portico.kit.settings import Settings, mask_url
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_CHECKS = 4  # each waits until its own time-out


def open_cache(settings: Settings, prefix: str, clock: Clock | None = None) -> Cache:
    """Return the cache of a service: in Redis if `REDIS_URL` is set, otherwise in memory.

    Args:
        settings: the kit's settings.
        prefix: prefix of each key in Redis, such as `catalog:identity:`.
        clock: the current time.
    """
    if settings.redis_url is None:
        return MemoryCache(clock=clock)
    from portico.kit.cache.redis import RedisCache  # its driver is slow to import

    return RedisCache(settings.redis_url, prefix, clock=clock)


async def warn_if_unavailable(cache: Cache, url: str) -> None:
    """Log a warning if the Redis at `url` does not respond when the process starts.

    Nothing fails without Redis, so a wrong address would remain unnoticed.
    """
    error: Exception = TimeoutError()
    for _ in range(_CHECKS):
        try:
            await cache.check()
        except TimeoutError as late:  # a machine that starts many processes is slow
            error = late
        except Exception as refused:  # noqa: BLE001  any error means that it is unavailable
            error = refused
            break
        else:
            return
    effect = "until it responds, nothing is cached and each process counts limits alone"
    logger.warning("redis_unavailable", address=mask_url(url), error=f"{type(error).__name__}: {error}", effect=effect)
