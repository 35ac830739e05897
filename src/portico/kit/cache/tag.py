from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheTag:
    """What kept answers tell of, such as the products of a service: one change lets all of them be forgotten.

    Args:
        name: unique within the service.
        seconds: how long an answer is kept at most. It bounds how long one may be out of date where a process died
            between its commit and its word to the cache.
    """

    name: str
    seconds: float = 30.0
