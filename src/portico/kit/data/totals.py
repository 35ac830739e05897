"""Lists that are too long to count. `kit.data.paging` does not count them again for some seconds."""

from collections.abc import Hashable

COUNT_LIMIT = 10_000
"""Maximum number of rows that are counted. Counting all rows of a large table would cost more than the page."""
REMEMBERED_FOR = 10.0
"""How long (seconds) a list is assumed to have more than `COUNT_LIMIT` rows, although rows may be deleted."""
_MAX_REMEMBERED = 1_000


class LongLists:
    """The lists of a database that had more than `COUNT_LIMIT` rows up to `REMEMBERED_FOR` seconds ago.

    Counting up to the limit costs several times as much as the page itself, whose rows an index finds. The count can be
    left out only for a long list, because any other total changes with each new row.
    """

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._until)

    def has(self, key: Hashable, now: float) -> bool:
        """Return whether the list was long up to `REMEMBERED_FOR` seconds before `now`."""
        return self._until.get(key, now) > now

    def add(self, key: Hashable, now: float) -> None:
        """Remember a list that has more than `COUNT_LIMIT` rows at `now`, which is monotonic time."""
        self._until.pop(key, None)
        if len(self._until) >= _MAX_REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[key] = now + REMEMBERED_FOR
