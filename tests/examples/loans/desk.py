"""The desk that takes deposits: another service, as loans knows it, and one that acts out every fault."""

import asyncio
from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote

import orjson

from portico.kit import Client, Summary
from portico.kit.calls import ConnectionLost, Incoming, Outgoing, Unreachable


class Charge(Summary):
    charge_id: str
    status: Literal["processing", "succeeded"]


class DeskClient(Client, service="desk"):
    async def charge(self, key: str, *, amount: int) -> Charge:
        return await self.post("/charges", json={"amount": amount}, key=key, answer=Charge)

    async def void(self, key: str) -> None:
        """Give back what was charged by `key`, or see to it that nothing ever is."""
        await self.put(f"/charges/{quote(key, safe='')}/void")


Fault = Literal["none", "lost", "dropped", "refused", "busy", "broken", "processing", "late"]


class Desk:
    """A channel on which the desk answers, by the next of its script, and without a fault once that is at its end.

    lost: does it, and the answer is lost. dropped: does not do it, and the caller can't know. refused: 402. busy: 503.
    broken: 500. processing: the outcome is open. late: nothing now, and the request arrives after all when `arrive` is
    called.
    """

    def __init__(self) -> None:
        self.script: list[Fault] = []
        self.kept: dict[str, int] = {}
        self.voided: set[str] = set()
        self.calls: list[str] = []
        self.traces: list[str] = []
        self.began = asyncio.Event()
        self.several = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self._late: list[str] = []

    def will(self, *faults: Fault) -> None:
        self.script += faults

    @property
    def charges(self) -> Sequence[str]:
        """The keys of charges that were asked for, each time."""
        return [call.removeprefix("charge ") for call in self.calls if call.startswith("charge ")]

    @property
    def money(self) -> int:
        """What the desk keeps."""
        return sum(self.kept.values())

    def arrive(self) -> None:
        """The charges that were held up on their way arrive."""
        for key in self._late:
            self._charge(key, 500)

    async def send(self, out: Outgoing) -> Incoming:
        if out.path == "/oauth/token":
            return _answer(200, {"access_token": "t", "expires_in": 3600})
        headers = dict(out.headers)
        self.traces.append(headers[b"traceparent"].decode())
        voiding = out.path.endswith("/void")
        key = out.path.split("/")[2].replace("%2F", "/") if voiding else headers[b"idempotency-key"].decode()
        self.calls.append(f"{'void' if voiding else 'charge'} {key}")
        if self.began.is_set():
            self.several.set()
        self.began.set()
        await self.open.wait()
        fault: Fault = self.script.pop(0) if self.script else "none"
        if fault == "dropped":
            raise ConnectionLost(out.service, "dropped")
        if fault == "late":
            self._late.append(key)
            raise ConnectionLost(out.service, "on its way")
        if fault == "busy":
            raise Unreachable(out.service, "nobody listens")
        if fault == "broken":
            return _answer(500, {"code": "internal_error", "detail": "Something went wrong"})
        if fault == "refused":
            return _answer(402, {"code": "card_declined", "detail": "The card was declined"})
        if fault == "processing" and not voiding:
            return _answer(202, {"charge_id": "c", "status": "processing"})
        answer = self._void(key) if voiding else self._charge(key, orjson.loads(out.body)["amount"])
        if fault == "lost":
            raise ConnectionLost(out.service, "the answer was lost")
        return answer

    def _charge(self, key: str, amount: int) -> Incoming:
        if key in self.voided:
            return _answer(409, {"code": "voided", "detail": "It was voided"})
        self.kept[key] = amount
        return _answer(201, {"charge_id": f"charge of {key}", "status": "succeeded"})

    def _void(self, key: str) -> Incoming:
        self.voided.add(key)
        self.kept.pop(key, None)
        return _answer(204, {})


def _answer(status: int, body: object) -> Incoming:
    return Incoming(status, [(b"content-type", b"application/json")], orjson.dumps(body))
