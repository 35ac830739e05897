"""Bugs that tests plant in a system under drill."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from portico.drill import DrillSettings
from portico.kit.calls.channel import Channel, Incoming, Outgoing
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.runtime.system import System
from portico.kit.sagas import Saga

Change = Callable[[ServiceRuntime], None]
Plant = Callable[[Path], Change]

_OK = 200
_REFUSED = 400
_CHARGES = "/payments/batch"


@dataclass(frozen=True)
class Bug:
    """A bug, and how the drill finds it.

    Args:
        name: of the bug.
        system: the system with it.
        drill: what to do.
        invariants: invariants that the drill finds broken.
        message: a part of the message of a breach.
        plant: returns what is done to each service when it starts, given the folder of the databases.
        also: further invariants that may be broken; None for any.
        history: a part of a line of the history that the drill prints.
    """

    name: str
    system: System
    drill: DrillSettings
    invariants: frozenset[str]
    message: str
    plant: Plant = lambda _: lambda _: None
    also: frozenset[str] | None = frozenset()
    history: str = ""

    def __str__(self) -> str:
        return f"{self.system.name}-{self.name}".replace(" ", "-")


def changing(service: str, when: str) -> Plant:
    """Return a bug: a trigger in a service's database that changes or deletes rows that the service writes."""

    def plant(folder: Path) -> Change:
        def change(context: ServiceRuntime) -> None:
            if context.name != service:
                return
            with sqlite3.connect(folder / f"{service}.db") as connection:
                connection.execute(f"CREATE TRIGGER IF NOT EXISTS planted AFTER {when}")
            connection.close()

        return change

    return plant


def with_saga(system: System, service: Any, saga: Saga[Any]) -> System:
    """Return a system whose `service` has another saga of this name."""
    others = [each for each in service.sagas if each.name != saga.name]
    services = {
        replace(each, sagas=[saga, *others]) if each is service else each: port
        for each, port in system.services.items()
    }
    return replace(system, services=services)


def calling(service: str, channel: Callable[[Channel], Channel]) -> Plant:
    """Return a bug: a service calls others with a channel that handles responses wrongly."""

    def plant(_folder: Path) -> Change:
        def change(context: ServiceRuntime) -> None:
            if context.name == service:
                context.channel = channel(context.channel)

        return change

    return plant


class TrustingChannel:
    """A channel that takes all charges of a request as done if one of them is."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def send(self, out: Outgoing) -> Incoming:
        answer = await self._channel.send(out)
        if not (out.is_batch and out.path.endswith(_CHARGES)) or answer.status != _OK:
            return answer
        answers = orjson.loads(answer.body)
        done = [each for each in answers if not _is_lost(each) and each["status"] < _REFUSED]
        return replace(answer, body=orjson.dumps([done[0] if done and _is_lost(each) else each for each in answers]))


class RekeyingChannel:
    """A channel that repeats a charge that was lost in a request with others under another idempotency key."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lost: set[str] = set()

    async def send(self, out: Outgoing) -> Incoming:
        if not out.path.endswith(("/payments", _CHARGES)) or out.method != "POST":
            return await self._channel.send(out)
        body = orjson.loads(out.body)
        charges = [item["body"] for item in body] if out.is_batch else [body]
        keys = [each.get("key") for each in charges]
        for each in charges:
            if each.get("key") in self._lost:
                each["key"] += "-again"
        answer = await self._channel.send(replace(out, body=orjson.dumps(body)))
        if out.is_batch and answer.status == _OK:
            answers = zip(keys, orjson.loads(answer.body), strict=True)
            self._lost |= {key for key, each in answers if _is_lost(each)}
        return answer


def _is_lost(answer: Mapping[str, Any]) -> bool:
    return answer["status"] in {None, 503}
