"""Rules of codes: when one is valid, for how many places, and what it takes off the price."""

from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from portico.kit import Clock, TooManyRequests, UserId
from portico.services.seating.errors import CodeExhausted, CodeNotValidNow

CodeKind = Literal["DISCOUNT", "PRESALE"]

MAX_CODE_LENGTH: Final = 40
_MAX_UNKNOWN: Final = 10  # unknown codes of a user in a window
_WINDOW: Final = 60.0  # seconds
_MAX_USERS: Final = 10_000
_WHOLE: Final = 100


def code_key(code: str) -> str:
    """Return the code without case."""
    return code.upper()


@dataclass(frozen=True, slots=True)
class Discount:
    """What a code takes off the price of each place.

    Attributes:
        percent_off: percentage of the price; the discount is rounded half up.
        amount_off: in minor units.
    """

    percent_off: int = 0
    amount_off: int = 0

    def of(self, price: int) -> int:
        """Return the discount on a place with this price, in minor units. It is at most the price."""
        return min(price, (price * self.percent_off + _WHOLE // 2) // _WHOLE + self.amount_off)


@dataclass(slots=True)
class Code:
    """A code of a show, and how many places are held or sold with it. `changed` says whether it has to be written."""

    code_key: str
    kind: CodeKind
    discount: Discount
    max_seats: int | None
    used_seats: int
    valid_from: datetime | None
    valid_until: datetime | None
    changed: bool = False

    def check(self, quantity: int, now: datetime) -> None:
        """Check that places can be held with the code now. Raises CodeNotValidNow, CodeExhausted."""
        is_early = self.valid_from is not None and now < self.valid_from
        is_late = self.valid_until is not None and now >= self.valid_until
        if is_early or is_late:
            raise CodeNotValidNow(used_code=self.code_key, valid_from=self.valid_from, valid_until=self.valid_until)
        if self.max_seats is not None and self.used_seats + quantity > self.max_seats:
            raise CodeExhausted(used_code=self.code_key, remaining=max(self.max_seats - self.used_seats, 0))

    def count(self, difference: int) -> None:
        """Count places that are held with the code, or given back."""
        self.used_seats, self.changed = max(self.used_seats + difference, 0), True


class CodeAttempts:
    """Counts the unknown codes that each user has tried in this process, so that codes cannot be guessed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._attempts: OrderedDict[UserId, deque[float]] = OrderedDict()

    def check(self, user_id: UserId) -> None:
        """Raise TooManyRequests if the user has tried too many unknown codes in the last minute."""
        found = self._attempts.get(user_id)
        if found is None:
            return
        now = self._clock.monotonic()
        while found and found[0] <= now - _WINDOW:
            found.popleft()
        if len(found) >= _MAX_UNKNOWN:
            raise TooManyRequests(retry_after=found[0] + _WINDOW - now)

    def record(self, user_id: UserId) -> None:
        """Count an unknown code of a user."""
        self._attempts.setdefault(user_id, deque(maxlen=_MAX_UNKNOWN)).append(self._clock.monotonic())
        self._attempts.move_to_end(user_id)
        if len(self._attempts) > _MAX_USERS:
            self._attempts.popitem(last=False)
