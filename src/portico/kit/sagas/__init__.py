"""Sagas: long transactions over several services, as rows that survive any process."""

from portico.kit.sagas.asking import Asked, retry_now, skip
from portico.kit.sagas.definition import FOREVER, Saga, Step, hours, minutes, seconds
from portico.kit.sagas.errors import PastNoReturn, SagaEnded, SagaNotFound, SagaOfAnotherVersion, StepUnderWay
from portico.kit.sagas.outcomes import GiveUp, NotYet, Undone
from portico.kit.sagas.state import SagaId, SagaState
from portico.kit.sagas.timeline import Standing, TimelineEntry, standing, timeline

__all__ = [
    "FOREVER",
    "Asked",
    "GiveUp",
    "NotYet",
    "PastNoReturn",
    "Saga",
    "SagaEnded",
    "SagaId",
    "SagaNotFound",
    "SagaOfAnotherVersion",
    "SagaState",
    "Standing",
    "Step",
    "StepUnderWay",
    "TimelineEntry",
    "Undone",
    "hours",
    "minutes",
    "retry_now",
    "seconds",
    "skip",
    "standing",
    "timeline",
]
