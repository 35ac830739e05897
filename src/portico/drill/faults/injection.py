"""Fault injection between a service and its database and its broker."""

import asyncio
import random
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Engine

from portico.drill.faults.plan import FaultPlan
from portico.kit.messaging.brokers.base import Broker, BrokerUnavailable, Deliver, Message, OnMessage
from portico.kit.sagas.commits import Member
from portico.kit.sagas.leases import ClaimedSaga
from portico.kit.sagas.runner import SagaRunner


class FaultPoint(Protocol):
    """A running service, as far as fault injection needs it."""

    name: str
    has_crashed: bool

    def crash(self) -> None:
        """Crash the service at once."""


class FaultyCommits:
    """Commits that fail before or after they took effect, are slow, or crash the service.

    It replaces the commit function of SQLAlchemy's dialect, so that it sees every commit of the service.
    """

    def __init__(self, engine: Engine, service: FaultPoint, plan: FaultPlan) -> None:
        self._commit = engine.dialect.do_commit
        self._roll_back = engine.dialect.do_rollback
        self._service = service
        self._plan = plan
        engine.dialect.do_commit = self.commit  # type: ignore[assignment, method-assign]  # of this engine's own dialect

    def commit(self, connection: Any) -> None:
        """Commit, or inject a fault. Raises a driver's error."""
        if self._service.has_crashed:
            raise self._lost(connection)
        fault = self._plan.next(self._service.name, "commit")
        if fault is None:
            self._commit(connection)
            return
        if fault.kind == "slow":
            connection.run_async(lambda _: asyncio.sleep(fault.seconds))
            self._commit(connection)
            return
        if not fault.before:
            self._commit(connection)
        if fault.kind == "crash":
            self._service.crash()
        raise self._lost(connection)

    def _lost(self, connection: Any) -> sqlite3.OperationalError:
        """Roll back, and return the error of a lost connection."""
        self._roll_back(connection)
        return sqlite3.OperationalError("disk I/O error")


class FaultyCohorts:
    """Cohorts of sagas whose process crashes between the calls of their step and the commit, or just after it.

    A saga that is committed alone is a commit like others.
    """

    def __init__(self, runner: SagaRunner, service: FaultPoint, plan: FaultPlan) -> None:
        self._commit = runner.commit_cohort
        self._service = service
        self._plan = plan
        runner.commit_cohort = self.commit

    async def commit(self, cohort: Sequence[Member]) -> Sequence[ClaimedSaga | None]:
        """Commit a cohort, or inject a fault. Raises what the commit raises."""
        fault = self._plan.next(self._service.name, "cohort") if len(cohort) > 1 else None
        if fault is None:
            return await self._commit(cohort)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        elif fault.before:
            self._service.crash()  # the commit fails, see `FaultyCommits`
        following = await self._commit(cohort)
        if fault.kind == "crash":
            self._service.crash()
        return following


class FaultyBroker:
    """A broker that loses confirmations, and delivers messages twice, late or in another order."""

    def __init__(self, broker: Broker, service: FaultPoint, plan: FaultPlan) -> None:
        self._broker = broker
        self._service = service
        self._plan = plan

    async def declare(self, group: str, types: Collection[str]) -> None:
        await self._broker.declare(group, types)

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        self._check_alive()
        fault = self._plan.next(self._service.name, "publish")
        if fault is None:
            return await self._broker.publish(messages)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return await self._broker.publish(messages)
        if fault.kind == "duplicate":
            return await self._broker.publish([*messages, *messages])
        if fault.kind == "reorder":
            shuffled = list(messages)
            random.Random(len(messages)).shuffle(shuffled)  # noqa: S311  # any other order
            return await self._broker.publish(shuffled)
        if not fault.before:
            await self._broker.publish(messages)
        if fault.kind == "crash":
            self._service.crash()
        raise BrokerUnavailable("the connection was lost (injected)")

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        async def deliver_with_faults(message: Message) -> None:
            await self._deliver(deliver, message)

        await self._broker.consume(group, deliver_with_faults, concurrency=concurrency)

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        await self._broker.subscribe(types, handler)

    async def _deliver(self, deliver: Deliver, message: Message) -> None:
        self._check_alive()
        fault = self._plan.next(self._service.name, "delivery")
        if fault is None:
            await deliver(message)
            self._check_alive()
            return
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        if fault.kind in {"slow", "duplicate"} or not fault.before:
            await deliver(message)
            self._check_alive()
        if fault.kind == "duplicate":
            await deliver(message)
        if fault.kind == "crash":
            self._service.crash()
        self._check_alive()
        if fault.kind == "drop":
            raise ConnectionError("the connection was lost before the acknowledgement (injected)")

    def _check_alive(self) -> None:
        if self._service.has_crashed:
            raise BrokerUnavailable("the service has crashed")

    async def check(self) -> None:
        await self._broker.check()

    async def backlog(self, group: str) -> int:
        return await self._broker.backlog(group)

    async def aclose(self) -> None:
        """Do nothing: the broker outlives the service."""
