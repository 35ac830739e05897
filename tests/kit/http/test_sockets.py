import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from fastapi.responses import StreamingResponse
from sqlalchemy import literal, select
from tests.examples.loans import service
from tests.kit.http.conftest import Extended

from portico.gateway.upstreams.base import CloseFrame, HandshakeRefused, UpstreamRequest, UpstreamWebSocket
from portico.gateway.upstreams.local import LocalUpstream
from portico.kit.auth.access import SignedIn
from portico.kit.foundation.problems import NotFound
from portico.kit.http.boundary import Reads
from portico.kit.http.context import Context
from portico.kit.http.router import Router
from portico.kit.http.schema import Schema
from portico.kit.http.sockets import Socket
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, running, system_of

PATIENCE = 10.0
_ANY_BOOK: Any = select(literal(1))

router = Router(prefix="/shelves", tags=["shelves"])


class NoSuchShelf(NotFound):
    code = "no_such_shelf"
    detail = "There is no shelf {number}."

    number: int


class BookPut(Schema):
    book_title: str


@router.websocket("/{number}/live", errors=[NoSuchShelf])
async def follow(number: int, caller: SignedIn, socket: Socket, reads: Reads, context: Context) -> None:
    """Shelf 0 ends at once, 1 is told one book and goes on, 2 ends in a problem, 3 in a bug; others are not there."""
    if number > 3:
        raise NoSuchShelf(number=number)
    await reads.rows(_ANY_BOOK)
    await socket.accept()
    await socket.send(BookPut(book_title=caller.subject))
    if number == 1:
        await context.stopping.wait()
        await asyncio.Event().wait()
    elif number == 2:
        raise NoSuchShelf(number=number)
    elif number == 3:
        raise RuntimeError


@router.get("/events", streams=True)
async def events(caller: SignedIn) -> StreamingResponse:
    """Who listens."""

    async def response_for() -> AsyncIterator[bytes]:
        yield f"data: {caller.subject}\n\n".encode()

    return StreamingResponse(response_for(), media_type="text/event-stream")


@asynccontextmanager
async def opened(loans: RunningService, path: str, query: str = "", **headers: str) -> AsyncIterator[UpstreamWebSocket]:
    """A WebSocket to the service."""
    name = loans.context.name
    upstream = LocalUpstream(name, loans.channel._apps[name])
    said = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    try:
        async with asyncio.timeout(PATIENCE):
            tunnel = await upstream.connect(UpstreamRequest("GET", path.encode(), query.encode(), said, PATIENCE))
            yield tunnel
    finally:
        await upstream.aclose()


async def refused(loans: RunningService, path: str, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    """The status and the problem with which a handshake is refused."""
    with pytest.raises(HandshakeRefused) as refusal:
        async with opened(loans, path, query, **headers):
            pass
    return refusal.value.status, orjson.loads(refusal.value.body)


def bearing(loans: RunningService, **options: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {loans.issuer.token(**options)}"}


@pytest.fixture
async def loans(embedded_extended: Extended) -> AsyncIterator[RunningService]:
    settings = {"STREAM_RECHECK": "0.05", "MESSAGE_LIMIT": "200", "RATE_LIMIT_MESSAGES": "3/minute"}
    async with embedded_extended(router, MAX_STREAMS_EACH="2", **settings) as loans:
        yield loans


class TestAWebSocket:
    async def test_its_client_is_told_in_json_and_the_endpoints_end_is_a_normal_one(
        self, loans: RunningService
    ) -> None:
        async with opened(loans, "/shelves/0/live", **bearing(loans, subject="user_1")) as socket:
            assert await socket.receive() == '{"book_title":"user_1"}'
            assert await socket.receive() == CloseFrame(1000, "")

    async def test_a_system_spells_what_it_tells(self, sqlite_databases: Databases) -> None:
        whole = replace(service, routers=[*service.routers, router])
        async with (
            running(whole, sqlite_databases, system=system_of(whole, case="camel", prefix="/api")) as loans,
            opened(loans, "/api/shelves/0/live", **bearing(loans, subject="user_1")) as socket,
        ):
            assert await socket.receive() == '{"bookTitle":"user_1"}'

    async def test_what_an_endpoint_raises_before_it_accepts_is_an_answer(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/9/live", **bearing(loans))

        assert (status, problem["code"], problem["number"]) == (404, "no_such_shelf", 9)

    async def test_what_it_raises_after_is_a_reason(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/2/live", **bearing(loans)) as socket:
            await socket.receive()
            assert await socket.receive() == CloseFrame(1008, "no_such_shelf")

    async def test_a_bug_is_told_as_an_error_and_no_more(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/3/live", **bearing(loans)) as socket:
            await socket.receive()
            assert await socket.receive() == CloseFrame(1011, "internal_error")

    async def test_a_path_that_does_not_fit_is_invalid(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/none/live", **bearing(loans))

        assert (status, problem["errors"][0]["location"]) == (422, ["path", "number"])

    async def test_a_character_that_no_database_takes_is_refused(self, loans: RunningService) -> None:
        assert (await refused(loans, "/shelves/%00/live", **bearing(loans)))[0] == 400

    async def test_an_unknown_query_parameter_is_refused(self, loans: RunningService) -> None:
        assert (await refused(loans, "/shelves/0/live", "since=1", **bearing(loans)))[0] == 422

    async def test_an_ordinary_request_is_told_what_is_here(self, loans: RunningService) -> None:
        answer = await loans.as_user().get("/shelves/0/live")

        assert (answer.status_code, answer.json()["code"]) == (400, "websocket_expected")

    async def test_it_is_not_in_the_document(self, loans: RunningService) -> None:
        document = (await loans.anonymous.get("/openapi.json")).json()

        assert "/shelves/{number}/live" not in document["paths"]


class TestWhoMayListen:
    async def test_nobody_may_not(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/0/live")

        assert (status, problem["code"]) == (401, "unauthorized")

    async def test_a_ticket_serves_once(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token("user_1"))

        async with opened(loans, "/shelves/0/live", f"ticket={ticket}") as socket:
            assert await socket.receive() == '{"book_title":"user_1"}'
        status, problem = await refused(loans, "/shelves/0/live", f"ticket={ticket}")
        assert (status, problem["code"]) == (401, "invalid_token")

    async def test_of_a_ticket_and_a_token_neither_is_believed(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token())

        assert (await refused(loans, "/shelves/0/live", f"ticket={ticket}", **bearing(loans)))[0] == 401

    async def test_a_ticket_that_is_none_is_not_passed_on(self, loans: RunningService) -> None:
        assert (await refused(loans, "/shelves/0/live", "ticket=" + "x" * 129))[0] == 401
        assert loans.issuer.asked["tickets"] == 0

    async def test_without_identity_a_ticket_can_not_be_redeemed_now(self, loans: RunningService) -> None:
        loans.issuer.down = True

        status, problem = await refused(loans, "/shelves/0/live", "ticket=x")
        assert (status, problem["code"]) == (503, "caller_unknown")

    async def test_a_token_that_ends_ends_it(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans, lasting=60)) as socket:
            await socket.receive()
            loans.clock.advance(100)

            closed = await socket.receive()
        assert closed == CloseFrame(1008, "the token is no longer valid")

    async def test_a_page_of_another_site_may_not(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/0/live", origin="https://evil.example", **bearing(loans))

        assert (status, problem["code"]) == (403, "origin_refused")

    @pytest.mark.parametrize(
        "headers",
        [{"origin": "http://localhost:3000"}, {"origin": "https://shop.example", "x_forwarded_host": "shop.example"}],
    )
    async def test_a_page_of_ours_may(self, loans: RunningService, headers: dict[str, str]) -> None:
        async with opened(loans, "/shelves/0/live", **headers, **bearing(loans)) as socket:
            assert isinstance(await socket.receive(), str)

    async def test_so_many_and_no_more(self, loans: RunningService) -> None:
        mine = bearing(loans, subject="user_1")
        async with opened(loans, "/shelves/1/live", **mine), opened(loans, "/shelves/1/live", **mine):
            status, problem = await refused(loans, "/shelves/1/live", **mine)
            async with opened(loans, "/shelves/1/live", **bearing(loans)) as another:
                assert isinstance(await another.receive(), str)

        assert (status, problem["code"]) == (503, "too_many_streams")


class TestWhatItHears:
    async def test_a_message_that_is_too_long_ends_it(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans)) as socket:
            await socket.receive()
            await socket.send("x" * 201)
            assert await socket.receive() == CloseFrame(1009, "a message has at most 200 bytes")

    async def test_too_many_messages_end_it(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans)) as socket:
            await socket.receive()
            for _ in range(4):
                await socket.send("?")
            assert await socket.receive() == CloseFrame(1008, "at most 3 messages in 60 s")

    async def test_a_client_that_leaves_makes_room(self, loans: RunningService) -> None:
        mine = bearing(loans, subject="user_1")
        for _ in range(4):
            async with opened(loans, "/shelves/1/live", **mine) as socket:
                await socket.receive()
                await socket.aclose(1000, "")
            await _until(lambda: loans.context.sockets.open == 0)


class TestStopping:
    async def test_the_client_is_told_to_come_again(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans)) as socket:
            await socket.receive()
            loans.context.stop()

            assert await socket.receive() == CloseFrame(1012, "the service stops")


class TestEventStreams:
    async def test_a_ticket_serves_there_too(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token("user_1"))

        first = await loans.anonymous.get(f"/shelves/events?ticket={ticket}")
        second = await loans.anonymous.get(f"/shelves/events?ticket={ticket}")

        assert (first.status_code, first.content) == (200, b"data: user_1\n\n")
        assert second.status_code == 401

    async def test_and_nowhere_else(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token())

        assert (await loans.anonymous.get(f"/books?ticket={ticket}")).status_code in {401, 422}
        assert loans.issuer.asked["tickets"] == 0


async def _until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # what it waits for is anybody's
            await asyncio.sleep(0)
