"""What search knows of a show: the part of its events that is searched and shown."""

import zlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from portico.contracts.events import ShowEvent, ShowId, ShowStatus
from portico.kit.foundation import fold
from portico.services.search.domain import FIELDS, Texts

MAX_LABEL_LENGTH: Final = 255  # letters of a category or venue that can be filtered by
PRICE_DECIMALS: Final = 4  # the largest number of decimals of any currency

_STATUS_RANKS: Final[dict[ShowStatus, int]] = {
    "ON_SALE": 0,
    "UPCOMING": 1,
    "SOLD_OUT": 1,
    "CANCELLED": 2,
    "COMPLETED": 2,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Document:
    """A show as it is found."""

    event_id: ShowId
    event_name: str
    event_date: datetime
    venue_name: str
    time_zone: str
    status: ShowStatus
    price: Decimal
    currency: str
    category: str | None
    description: str | None

    @classmethod
    def of_event(cls, event: ShowEvent) -> Self:
        """Return the document of the show in an event."""
        return cls(**{name: getattr(event, name) for name in cls.__dataclass_fields__})

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> Self:
        """Return the document that `data` stores."""
        read = {
            "event_id": ShowId(data["event_id"]),
            "event_date": datetime.fromisoformat(data["event_date"]),
            "price": Decimal(data["price"]),
        }
        return cls(**{**data, **read})

    @cached_property
    def data(self) -> dict[str, Any]:
        """The document as JSON."""
        written = {
            "event_id": int(self.event_id),
            "event_date": self.event_date.astimezone(UTC).isoformat(),
            "price": str(self.price),
        }
        return {**asdict(self), **written}

    @cached_property
    def fingerprint(self) -> int:
        """A number that differs if anything in the document differs. The sum over all documents compares two indexes."""
        return zlib.crc32(orjson.dumps(self.data, option=orjson.OPT_SORT_KEYS))

    @cached_property
    def texts(self) -> Texts:
        """The searched texts."""
        return Texts({field: getattr(self, field) or "" for field in FIELDS})

    @property
    def status_rank(self) -> int:
        """The order of the status in results: on sale, still to come, ended."""
        return _STATUS_RANKS[self.status]

    @property
    def starts_at(self) -> int:
        """The beginning in microseconds since 1970."""
        return microseconds(self.event_date)

    @property
    def local_date(self) -> str:
        """The date in the show's time zone (YYYY-MM-DD)."""
        try:
            zone: Any = ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            zone = UTC  # unknown to this machine
        return self.event_date.astimezone(zone).date().isoformat()

    @property
    def row(self) -> dict[str, Any]:
        """The values that results are filtered, counted and ordered by."""
        return {
            "show_id": int(self.event_id),
            "fingerprint": self.fingerprint,
            "status_rank": self.status_rank,
            "starts_at": self.starts_at,
            "status": self.status,
            "category": None if self.category is None else self.category[:MAX_LABEL_LENGTH],
            "category_key": None if self.category is None else category_key(self.category),
            "venue_name": self.venue_name[:MAX_LABEL_LENGTH],
            "month": self.local_date[:7],
            "local_date": self.local_date,
            "price_order": price_order(self.price),
        }


def category_key(category: str) -> str:
    """Return the category without case and accents, as filters compare it."""
    return fold(category.strip())[:MAX_LABEL_LENGTH]


def price_order(price: Decimal) -> int:
    """Return a number that orders prices as written, whatever the currency."""
    return int(price.scaleb(PRICE_DECIMALS))


def microseconds(moment: datetime) -> int:
    """Return a time in microseconds since 1970."""
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
