"""Where faults strike: what stands between a service and its database, its broker and its neighbours."""

import asyncio
import random
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Engine

from portico.drill.faults.plan import Fault, FaultPlan
from portico.kit.calls.channel import Channel, Incoming, Outgoing
from portico.kit.calls.errors import CallTimedOut, ConnectionLost, Unreachable
from portico.kit.messaging.brokers.base import Broker, BrokerUnavailable, Deliver, Message, OnMessage


class FaultPoint(Protocol):
    """A service in one of its lives, as far as faults see it."""

    name: str
    over: bool

    def crash(self) -> None:
        """End this life, at once."""


class FaultyCommits:
    """Commits that fail before or after they took effect, take long, or are the last thing that a process does.

    It replaces what SQLAlchemy's dialect calls to commit, so that no commit of the service goes past it.
    """

    def __init__(self, engine: Engine, life: FaultPoint, plan: FaultPlan) -> None:
        self._commit = engine.dialect.do_commit
        self._roll_back = engine.dialect.do_rollback
        self._life = life
        self._plan = plan
        engine.dialect.do_commit = self.commit  # type: ignore[assignment, method-assign]  # of this engine's own dialect

    def commit(self, connection: Any) -> None:
        """Commit, or not. Raises what a driver raises."""
        if self._life.over:
            raise self._gone(connection)
        fault = self._plan.next(self._life.name, "commit")
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
            self._life.crash()
        raise self._gone(connection)

    def _gone(self, connection: Any) -> sqlite3.OperationalError:
        """What a driver says of a connection that broke; with it goes its transaction."""
        self._roll_back(connection)
        return sqlite3.OperationalError("disk I/O error")


class FaultyChannel:
    """Calls that are lost on their way there or back, come twice, or take long."""

    def __init__(self, channel: Channel, life: FaultPoint, plan: FaultPlan) -> None:
        self._channel = channel
        self._life = life
        self._plan = plan

    async def send(self, out: Outgoing) -> Incoming:
        """Send, and have the plan's fault strike. Raises CallFailed, see `Channel`."""
        self._go_on(out)
        fault = self._plan.next(self._life.name, "call")
        if fault is None:
            return await self._sent(out)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return await self._sent(out)
        if fault.kind == "duplicate":
            if not out.repeatable:
                return await self._sent(out)
            first, _ = await asyncio.gather(self._sent(out), self._sent(out), return_exceptions=True)
            if isinstance(first, BaseException):
                raise first
            return first
        return await self._broken(out, fault)

    async def _broken(self, out: Outgoing, fault: Fault) -> Incoming:
        if not fault.before:
            await self._sent(out)
        if fault.kind == "crash":
            self._life.crash()
            self._go_on(out)
        if fault.kind == "timeout":
            raise CallTimedOut(out.service, "no answer in time (injected)")
        if fault.before:
            raise Unreachable(out.service, "the connection was refused (injected)")
        raise ConnectionLost(out.service, "the connection broke (injected)")

    async def _sent(self, out: Outgoing) -> Incoming:
        answer = await self._channel.send(out)
        self._go_on(out)
        return answer

    def _go_on(self, out: Outgoing) -> None:
        if self._life.over:
            raise Unreachable(out.service, "who calls has crashed")


class FaultyBroker:
    """A broker whose confirmations are lost, whose messages come twice, late and in another order."""

    def __init__(self, broker: Broker, life: FaultPoint, plan: FaultPlan) -> None:
        self._broker = broker
        self._life = life
        self._plan = plan

    async def declare(self, group: str, types: Collection[str]) -> None:
        await self._broker.declare(group, types)

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        self._go_on()
        fault = self._plan.next(self._life.name, "publish")
        if fault is None:
            return await self._broker.publish(messages)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return await self._broker.publish(messages)
        if fault.kind == "duplicate":
            return await self._broker.publish([*messages, *messages])
        if fault.kind == "reorder":
            shuffled = list(messages)
            random.Random(len(messages)).shuffle(shuffled)  # noqa: S311  # any other order will do
            return await self._broker.publish(shuffled)
        if not fault.before:
            await self._broker.publish(messages)
        if fault.kind == "crash":
            self._life.crash()
        raise BrokerUnavailable("the connection broke (injected)")

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        async def struck(message: Message) -> None:
            await self._deliver(deliver, message)

        await self._broker.consume(group, struck, concurrency=concurrency)

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        await self._broker.subscribe(types, handler)

    async def _deliver(self, deliver: Deliver, message: Message) -> None:
        self._go_on()
        fault = self._plan.next(self._life.name, "delivery")
        if fault is None:
            await deliver(message)
            self._go_on()
            return
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        if fault.kind in {"slow", "duplicate"} or not fault.before:
            await deliver(message)
            self._go_on()
        if fault.kind == "duplicate":
            await deliver(message)
        if fault.kind == "crash":
            self._life.crash()
        self._go_on()
        if fault.kind == "drop":
            raise ConnectionError("the connection broke before it was acknowledged (injected)")

    def _go_on(self) -> None:
        if self._life.over:
            raise BrokerUnavailable("who uses it has crashed")

    async def check(self) -> None:
        await self._broker.check()

    async def backlog(self, group: str) -> int:
        return await self._broker.backlog(group)

    async def aclose(self) -> None:
        """The broker is not this life's to close."""
