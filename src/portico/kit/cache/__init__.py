"""Cache: in memory, or in Redis to share it between processes."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.cache.base import Cache, CacheGroup, CacheTag
else:
    __getattr__ = lazy_exports(__name__, {"base": "Cache CacheGroup CacheTag"})

__all__ = [
    "Cache",
    "CacheGroup",
    "CacheTag",
]
