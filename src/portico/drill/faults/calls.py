"""Fault injection between a service and the services that it calls."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson

from portico.drill.faults.injection import FaultPoint
from portico.drill.faults.plan import Fault, FaultPlan
from portico.kit.calls.call_batcher import MAX_BATCH
from portico.kit.calls.channel import Channel, Incoming, Outgoing
from portico.kit.calls.errors import CallTimedOut, ConnectionLost, Unreachable

_OK = 200
_NOT_READY: dict[str, Any] = {"status": None, "headers": {}, "body": None}
_UNAVAILABLE = {"status": 503, "headers": {"retry-after": "1"}, "body": {"title": "Injected", "status": 503}}


class FaultyChannel:
    """Calls whose request or response is lost, that are sent twice, or that are slow.

    Of a request that contains several calls, one may be lost while the others pass.
    """

    def __init__(self, channel: Channel, service: FaultPoint, plan: FaultPlan) -> None:
        self._channel = channel
        self._service = service
        self._plan = plan

    async def send(self, out: Outgoing) -> Incoming:
        """Send a request, or inject a fault. Raises CallFailed, see `Channel`."""
        self._check_alive(out)
        fault = self._plan.next(self._service.name, "batch" if out.is_batch else "call")
        if fault is None:
            return await self._send(out)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return await self._send(out)
        if fault.kind == "duplicate":
            if not out.repeatable:
                return await self._send(out)
            first, _ = await asyncio.gather(self._send(out), self._send(out), return_exceptions=True)
            if isinstance(first, BaseException):
                raise first
            return first
        return await self._fail(out, fault)

    async def _fail(self, out: Outgoing, fault: Fault) -> Incoming:
        if not fault.before:
            await self._send(out)
        if fault.kind == "crash":
            self._service.crash()
            self._check_alive(out)
        if fault.kind == "timeout":
            raise CallTimedOut(out.service, "no answer in time (injected)")
        if fault.before:
            raise Unreachable(out.service, "the connection was refused (injected)")
        raise ConnectionLost(out.service, "the connection was lost (injected)")

    async def _send(self, out: Outgoing) -> Incoming:
        answer = await (self._send_items(out) if out.is_batch else self._channel.send(out))
        self._check_alive(out)
        return answer

    async def _send_items(self, out: Outgoing) -> Incoming:
        """Send a request that contains several calls, and inject faults into each of them."""
        items = [(item, self._plan.next(self._service.name, "item")) for item in orjson.loads(out.body)]
        if not any(fault for _, fault in items):
            return await self._channel.send(out)
        sent = [item for item, fault in items if not _is_lost_before(fault)]
        again = [item for item, fault in items if fault is not None and fault.kind == "duplicate"]
        body = orjson.dumps([*sent, *again[: MAX_BATCH - len(sent)]])
        answer = await self._channel.send(replace(out, body=body)) if sent else Incoming(_OK, [], b"[]")
        if answer.status != _OK:
            return answer
        answers = iter(orjson.loads(answer.body))
        found = [_answer(fault, None if _is_lost_before(fault) else next(answers)) for _, fault in items]
        return replace(answer, body=orjson.dumps(found))

    def _check_alive(self, out: Outgoing) -> None:
        if self._service.has_crashed:
            raise Unreachable(out.service, "the caller has crashed")


def _is_lost_before(fault: Fault | None) -> bool:
    """Return whether a call does not reach the service."""
    return fault is not None and fault.kind in {"drop", "timeout"} and fault.before


def _answer(fault: Fault | None, answer: Any) -> Any:
    """Return the response to one call of a request: its own, a transient failure, or that it was not ready in time."""
    if fault is not None and fault.kind == "drop":
        return _UNAVAILABLE
    if fault is not None and fault.kind == "timeout":
        return _NOT_READY
    return answer
