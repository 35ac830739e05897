"""Events: facts that a service publishes for other services."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

from portico.kit.foundation.ids import Identifier


class EventId(Identifier, prefix="evt"):
    """Id of an event. It is the same for every delivery."""


class Event(BaseModel):
    """Base class of events: `class BookLent(Event, type="book.lent", version=1, aggregate="book_id")`.

    Readers ignore unknown fields, so that events can grow.

    Args of the class:
        type: `noun.verb_in_past`.
        version: increased by a change that would break readers of the previous version.
        aggregate: the field with the id of the aggregate; events of one aggregate are handled in order.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_type: ClassVar[str] = ""
    version: ClassVar[int] = 0
    aggregate_field: ClassVar[str] = ""

    _message_id: EventId = PrivateAttr(default_factory=EventId.new)

    def __init_subclass__(cls, *, type: str = "", version: int = 1, aggregate: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.event_type, cls.version, cls.aggregate_field = type, version, aggregate

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.event_type and cls.aggregate_field not in cls.model_fields:
            raise TypeError(
                f"{cls.__name__} has no field {cls.aggregate_field!r}. Set aggregate= to one of its fields."
            )

    @classmethod
    def without_validation(cls, **values: Any) -> Self:
        """Return an event with these values without validating them, for hot paths. The values must be valid."""
        event = cls.__new__(cls)
        object.__setattr__(event, "__dict__", values)
        object.__setattr__(event, "__pydantic_fields_set__", set(values))
        object.__setattr__(event, "__pydantic_extra__", None)
        object.__setattr__(event, "__pydantic_private__", {"_message_id": EventId.new()})
        return event

    @property
    def message_id(self) -> EventId:
        """Id of the event, generated when it is created. It is not part of the data, which may have an `event_id`."""
        # This reads `self._message_id` in a fifth of the time.
        identifier: EventId = (self.__pydantic_private__ or {})["_message_id"]
        return identifier

    @property
    def aggregate_id(self) -> str:
        """Id of the aggregate that the event concerns."""
        return str(getattr(self, self.aggregate_field))

    def with_message_id(self, message_id: str) -> Self:
        """Set the id that the event was published with, and return the event."""
        self._message_id = EventId(message_id)
        return self
