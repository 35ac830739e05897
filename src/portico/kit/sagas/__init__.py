"""Sagas: long transactions over several services, stored as rows so that they survive the death of any process."""

from portico.kit.sagas.control import UndoTiming, request_undo, retry_now, skip, start_saga
from portico.kit.sagas.definition import FOREVER, Saga, Step, hours, minutes, seconds
from portico.kit.sagas.errors import PastNoReturn, SagaEnded, SagaNotFound, SagaOfAnotherVersion, StepUnderWay
from portico.kit.sagas.outcomes import AbortSaga, StepPending, UndoReason
from portico.kit.sagas.state import SagaId, SagaState
from portico.kit.sagas.subject_timeline import TimelineEvent, subject_timeline
from portico.kit.sagas.timeline import SagaStatus, TimelineEntry, saga_status, timeline

__all__ = [
    "FOREVER",
    "AbortSaga",
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
    "TimelineEvent",
    "UndoReason",
    "UndoTiming",
    "hours",
    "minutes",
    "request_undo",
    "retry_now",
    "saga_status",
    "seconds",
    "skip",
    "start_saga",
    "subject_timeline",
    "timeline",
]
