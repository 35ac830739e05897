"""The kit: everything a service is built from. It knows no service.

Services import the names below from here and others from the kit's packages (`from portico.kit.auth import
SigningKey`), never from inner modules. A module is imported when one of its names is used.
"""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.auth.access import AnyCaller, FromService, KnownCaller, PublicRead, SignedIn, permitted
    from portico.kit.auth.principal import Principal, UserId
    from portico.kit.calls.client import Calls, Client, Summary
    from portico.kit.data.paging import InvalidCursor, Keyset, Slice, Window, newest_first
    from portico.kit.data.reader import Reader
    from portico.kit.data.repository import Repository
    from portico.kit.data.table import TableRules, identifier, revision
    from portico.kit.data.unit_of_work import UnitOfWork
    from portico.kit.foundation.clock import Clock
    from portico.kit.foundation.ids import Identifier, IntegerIdentifier
    from portico.kit.foundation.money import Amount, CurrencyCode, Money
    from portico.kit.foundation.problems import (
        BadRequest,
        Conflict,
        ContentTooLarge,
        Forbidden,
        NotFound,
        PreconditionFailed,
        Problem,
        TooManyRequests,
        Unauthorized,
        Unavailable,
        Unprocessable,
    )
    from portico.kit.http.boundary import Reads, Work
    from portico.kit.http.client_info import ClientInfo, RequestClient
    from portico.kit.http.conditional import Conditions
    from portico.kit.http.context import Context, OnBehalf, inject
    from portico.kit.http.paging import NumberedPage, Page, numbered_list
    from portico.kit.http.router import Router
    from portico.kit.http.schema import Line, Moment, OneLine, Schema
    from portico.kit.http.sockets import Socket
    from portico.kit.jobs.runner import job
    from portico.kit.messaging.consumer import consumes
    from portico.kit.messaging.event import Event, EventId
    from portico.kit.runtime.service import Service
    from portico.kit.runtime.system import System
    from portico.kit.sagas.definition import FOREVER, Saga, Step, hours, minutes, seconds
    from portico.kit.sagas.outcomes import AbortSaga, StepPending, UndoReason
    from portico.kit.sagas.state import SagaState
    from portico.kit.service_context import ServiceContext
    from portico.kit.settings.fields import ServiceSettings
    from portico.kit.settings.values import Seconds, Secret
    from portico.kit.telemetry.logs import get_logger
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "auth.access": "AnyCaller FromService KnownCaller PublicRead SignedIn permitted",
            "auth.principal": "Principal UserId",
            "calls.client": "Calls Client Summary",
            "data.paging": "InvalidCursor Keyset Slice Window newest_first",
            "data.reader": "Reader",
            "data.repository": "Repository",
            "data.table": "TableRules identifier revision",
            "data.unit_of_work": "UnitOfWork",
            "foundation.clock": "Clock",
            "foundation.ids": "Identifier IntegerIdentifier",
            "foundation.money": "Amount CurrencyCode Money",
            "foundation.problems": "BadRequest Conflict ContentTooLarge Forbidden NotFound PreconditionFailed Problem TooManyRequests Unauthorized Unavailable Unprocessable",
            "http.boundary": "Reads Work",
            "http.client_info": "ClientInfo RequestClient",
            "http.conditional": "Conditions",
            "http.context": "Context OnBehalf inject",
            "http.paging": "NumberedPage Page numbered_list",
            "http.router": "Router",
            "http.schema": "Line Moment OneLine Schema",
            "http.sockets": "Socket",
            "jobs.runner": "job",
            "messaging.consumer": "consumes",
            "messaging.event": "Event EventId",
            "runtime.service": "Service",
            "runtime.system": "System",
            "sagas.definition": "FOREVER Saga Step hours minutes seconds",
            "sagas.outcomes": "AbortSaga StepPending UndoReason",
            "sagas.state": "SagaState",
            "service_context": "ServiceContext",
            "settings.fields": "ServiceSettings",
            "settings.values": "Seconds Secret",
            "telemetry.logs": "get_logger",
        },
    )

__all__ = [
    "FOREVER",
    "AbortSaga",
    "Amount",
    "AnyCaller",
    "BadRequest",
    "Calls",
    "Client",
    "ClientInfo",
    "Clock",
    "Conditions",
    "Conflict",
    "ContentTooLarge",
    "Context",
    "CurrencyCode",
    "Event",
    "EventId",
    "Forbidden",
    "FromService",
    "Identifier",
    "IntegerIdentifier",
    "InvalidCursor",
    "Keyset",
    "KnownCaller",
    "Line",
    "Moment",
    "Money",
    "NotFound",
    "NumberedPage",
    "OnBehalf",
    "OneLine",
    "Page",
    "PreconditionFailed",
    "Principal",
    "Problem",
    "PublicRead",
    "Reader",
    "Reads",
    "Repository",
    "RequestClient",
    "Router",
    "Saga",
    "SagaState",
    "Schema",
    "Seconds",
    "Secret",
    "Service",
    "ServiceContext",
    "ServiceSettings",
    "SignedIn",
    "Slice",
    "Socket",
    "Step",
    "StepPending",
    "Summary",
    "System",
    "TableRules",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UndoReason",
    "UnitOfWork",
    "Unprocessable",
    "UserId",
    "Window",
    "Work",
    "consumes",
    "get_logger",
    "hours",
    "identifier",
    "inject",
    "job",
    "minutes",
    "newest_first",
    "numbered_list",
    "permitted",
    "revision",
    "seconds",
]
