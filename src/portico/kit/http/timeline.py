"""JSON of a timeline, for services whose resources have sagas."""

from typing import Literal

from pydantic import Field

from portico.kit.http.schema import Moment, Schema


class TimelineEventRead(Schema):
    """An entry of a timeline.

    `what` is the name of a step or the type of an event; `action` is what was done; `compensation` says whether a step
    was undone; `attempt` counts from 1; `ended_at` is null while a step is running.
    """

    kind: Literal["step", "event", "request"]
    what: str = Field(examples=["take-payment"])
    saga: str | None = Field(examples=["place-order"])
    action: str = Field(examples=["attempt"])
    compensation: bool = Field(examples=[False])
    attempt: int
    started_at: Moment
    ended_at: Moment | None = Field(examples=["2026-01-31T12:00:01Z"])
    seconds: float | None = Field(examples=[0.012])
    outcome: str = Field(examples=["done"])
    error: str | None
    actor: str | None
