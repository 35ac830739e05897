"""Events: what a service tells of that happened, for whoever it concerns."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

from portico.kit.foundation.ids import Identifier


class EventId(Identifier, prefix="evt"):
    """An event: the same however often it is delivered."""


class Event(BaseModel):
    """What happened: `class BookLent(Event, type="book.lent", version=1, aggregate="book_id")`.

    Fields that a reader does not know are ignored, so that events may grow.

    Args of the class:
        type: `noun.verb_in_past`.
        version: goes up where a change would break those who read the one before.
        aggregate: the field that names what the event is about; events about one thing are handled in order.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_type: ClassVar[str] = ""
    version: ClassVar[int] = 0
    aggregate_field: ClassVar[str] = ""

    _event_id: EventId = PrivateAttr(default_factory=EventId.new)

    def __init_subclass__(cls, *, type: str = "", version: int = 1, aggregate: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.event_type, cls.version, cls.aggregate_field = type, version, aggregate

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.event_type and cls.aggregate_field not in cls.model_fields:
            raise TypeError(f"{cls.__name__} is about {cls.aggregate_field!r}, which is none of its fields")

    @property
    def event_id(self) -> EventId:
        """Its identity, given when it is made."""
        return self._event_id

    @property
    def aggregate_id(self) -> str:
        """What it is about."""
        return str(getattr(self, self.aggregate_field))

    def known_as(self, event_id: str) -> Self:
        """The same event under the identity that it was published with."""
        self._event_id = EventId(event_id)
        return self
