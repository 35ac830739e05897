"""Counting requests: in this process, or in Redis for all processes."""

from portico.gateway.limits.base import Limiter
from portico.gateway.limits.memory import MemoryLimiter
from portico.gateway.limits.shared import RedisLimiter

__all__ = ["Limiter", "MemoryLimiter", "RedisLimiter"]
