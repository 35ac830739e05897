from portico.kit.cache.base import Cache
from portico.kit.cache.memory import MemoryCache
from portico.kit.foundation.clock import Clock
from portico.kit.settings import Settings, mask_url
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)


def open_cache(settings: Settings, prefix: str, clock: Clock | None = None) -> Cache:
    """The cache of a service: in Redis where `REDIS_URL` is set, else in memory.

    Args:
        settings: The kit's.
        prefix: Before each key in Redis, such as `catalog:identity:`.
        clock: The time.
    """
    if settings.redis_url is None:
        return MemoryCache(clock=clock)
    from portico.kit.cache.redis import RedisCache  # its driver takes a while to import

    return RedisCache(settings.redis_url, prefix, clock=clock)


async def tell_if_away(cache: Cache, url: str) -> None:
    """Log it where the Redis at `url` does not answer as the process starts; that it is needed later shows nothing.

    Nothing fails without it, so that a wrong address would be seen by nobody.
    """
    try:
        await cache.check()
    except Exception as error:  # noqa: BLE001  # refused, unknown, not let in: whatever it is, it is told
        effect = "until it answers nothing is kept, and limits are counted in each process"
        logger.warning(
            "redis_unavailable", address=mask_url(url), error=f"{type(error).__name__}: {error}", effect=effect
        )
