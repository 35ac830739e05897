"""Buyers of the demo whose show sells out while they wait."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import pytest
from rich.console import Console

from portico.demo.accounts import Account
from portico.demo.box_office import BoxOffice, Buyer
from portico.demo.progress import run_beside
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed, Response

SHOW, UNKNOWN_SHOW = 7, 8


class SoldOutShow(Walk):
    """A show that is sold out. `joined` is the response to joining its waiting room."""

    def __init__(self, joined: tuple[int, Mapping[str, Any]]) -> None:
        super().__init__(Console(quiet=True), "http://gateway")
        self.requests: list[str] = []
        self._answers = {
            f"POST /api/queue/{SHOW}": joined,
            f"GET /api/events/{SHOW}": (HTTPStatus.OK, {"status": "SOLD_OUT"}),
            f"POST /api/events/{SHOW}/waitlist": (HTTPStatus.CREATED, {"status": "WAITING"}),
            f"DELETE /api/queue/{SHOW}": (HTTPStatus.NO_CONTENT, {}),
        }

    async def send(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Response:
        request = f"{method} {path}"
        self.requests.append(request)
        if request not in self._answers:
            raise ExpectationFailed(f"{request}: no response")
        status, body = self._answers[request]
        return Response(request, status, {}, orjson.dumps(body))

    async def next_event(self, path: str, *, token: str, until: Callable[[Any], bool]) -> Any:
        await asyncio.Event().wait()  # the waiting room of a show that is sold out admits no one


class TestASoldOutShow:
    @pytest.mark.parametrize(
        "joined",
        [(HTTPStatus.CREATED, {"status": "WAITING"}), (HTTPStatus.CONFLICT, {"code": "sold_out"})],
        ids=["while they wait", "before they come"],
    )
    async def test_sends_buyers_to_the_waiting_list(self, joined: tuple[int, Mapping[str, Any]]) -> None:
        walk = SoldOutShow(joined)
        buyer = Buyer(0, Account("ada@example.com", "secret", token="a"))
        office = BoxOffice(walk, SHOW, [buyer], "demo")

        async with run_beside(office.watch()):
            await office.shop(buyer)

        assert buyer.outcome == "on the waiting list"
        assert walk.requests[-2:] == [f"POST /api/events/{SHOW}/waitlist", f"DELETE /api/queue/{SHOW}"]

    async def test_is_reported_if_it_cannot_be_watched(self) -> None:
        walk = SoldOutShow((HTTPStatus.CREATED, {"status": "WAITING"}))
        buyer = Buyer(0, Account("ada@example.com", "secret", token="a"))
        office = BoxOffice(walk, UNKNOWN_SHOW, [buyer], "demo")

        with pytest.raises(ExpectationFailed, match=f"GET /api/events/{UNKNOWN_SHOW}: no response"):
            async with run_beside(office.watch()):
                await asyncio.Event().wait()  # a buyer who waits in the queue
