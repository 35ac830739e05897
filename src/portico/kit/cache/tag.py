"""Tags of cached responses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheTag:
    """Tag of cached responses, such as those that show products. A change invalidates all responses with its tag.

    Args:
        name: unique within the service.
        seconds: time to live. It limits how long a response may be outdated if a process dies between its commit and
            the invalidation.
    """

    name: str
    seconds: float = 30.0
