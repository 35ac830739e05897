from portico.kit.cache.base import Cache
from portico.kit.cache.memory import MemoryCache
from portico.kit.clock import Clock
from portico.kit.settings import Settings


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
