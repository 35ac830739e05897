"""Sagas: long transactions over several services, as rows that survive any process."""

from portico.kit.sagas.control import Asked, retry_now, skip
from portico.kit.sagas.definition import FOREVER, Saga, Step, hours, minutes, seconds
from portico.kit.sagas.errors import PastNoReturn, SagaEnded, SagaNotFound, SagaOfAnotherVersion, StepUnderWay
from portico.kit.sagas.outcomes import AbortSaga, StepPending, UndoReason
from portico.kit.sagas.state import SagaId, SagaState
from portico.kit.sagas.timeline import SagaStatus, TimelineEntry, saga_status, timeline

__all__ = [
    "FOREVER",
    "AbortSaga",
    "Asked",
    "PastNoReturn",
    "Saga",
    "SagaEnded",
    "SagaId",
    "SagaNotFound",
    "SagaOfAnotherVersion",
    "SagaState",
    "SagaStatus",
    "Step",
    "StepPending",
    "StepUnderWay",
    "TimelineEntry",
    "UndoReason",
    "hours",
    "minutes",
    "retry_now",
    "saga_status",
    "seconds",
    "skip",
    "timeline",
]
