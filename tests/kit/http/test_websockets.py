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
from portico.testing.running_service import RunningService, run_service, system_of

TIMEOUT = 60.0
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
    """Shelf 0 ends at once, 1 sends a book and stays open, 2 raises a problem, 3 has a bug; others do not exist."""
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
    """Stream events."""

    async def stream() -> AsyncIterator[bytes]:
        yield f"data: {caller.subject}\n\n".encode()

    return StreamingResponse(stream(), media_type="text/event-stream")


@asynccontextmanager
async def opened(loans: RunningService, path: str, query: str = "", **headers: str) -> AsyncIterator[UpstreamWebSocket]:
    """Open a WebSocket to the service."""
    name = loans.context.name
    upstream = LocalUpstream(name, loans.channel._apps[name])
    header_list = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    try:
        async with asyncio.timeout(TIMEOUT):
            tunnel = await upstream.connect(UpstreamRequest("GET", path.encode(), query.encode(), header_list, TIMEOUT))
            yield tunnel
    finally:
        await upstream.aclose()


async def refused(loans: RunningService, path: str, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the problem of a rejected handshake."""
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


class TestWebSocket:
    async def test_sends_json_and_closes_normally(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/0/live", **bearing(loans, subject="user_1")) as socket:
            assert await socket.receive() == '{"book_title":"user_1"}'
            assert await socket.receive() == CloseFrame(1000, "")

    async def test_uses_the_case_of_the_system(self, sqlite_databases: Databases) -> None:
        whole = replace(service, routers=[*service.routers, router])
        async with (
            run_service(whole, sqlite_databases, system=system_of(whole, case="camel", prefix="/api")) as loans,
            opened(loans, "/api/shelves/0/live", **bearing(loans, subject="user_1")) as socket,
        ):
            assert await socket.receive() == '{"bookTitle":"user_1"}'

    async def test_a_problem_before_accepting_is_an_http_response(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/9/live", **bearing(loans))

        assert (status, problem["code"], problem["number"]) == (404, "no_such_shelf", 9)

    async def test_a_problem_after_accepting_is_the_close_reason(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/2/live", **bearing(loans)) as socket:
            await socket.receive()
            assert await socket.receive() == CloseFrame(1008, "no_such_shelf")

    async def test_a_bug_reveals_no_details(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/3/live", **bearing(loans)) as socket:
            await socket.receive()
            assert await socket.receive() == CloseFrame(1011, "internal_error")

    async def test_an_invalid_path_parameter_is_rejected(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/none/live", **bearing(loans))

        assert (status, problem["code"]) == (404, "not_found")

    async def test_nul_in_the_path_is_rejected(self, loans: RunningService) -> None:
        assert (await refused(loans, "/shelves/%00/live", **bearing(loans)))[0] == 400

    async def test_an_unknown_query_parameter_is_rejected(self, loans: RunningService) -> None:
        assert (await refused(loans, "/shelves/0/live", "since=1", **bearing(loans)))[0] == 422

    async def test_an_ordinary_request_is_rejected_with_a_hint(self, loans: RunningService) -> None:
        answer = await loans.as_user().get("/shelves/0/live")

        assert (answer.status_code, answer.json()["code"]) == (400, "websocket_expected")

    async def test_is_not_in_the_openapi_document(self, loans: RunningService) -> None:
        document = (await loans.anonymous.get("/openapi.json")).json()

        assert "/shelves/{number}/live" not in document["paths"]


class TestAuthorization:
    async def test_requires_a_caller(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/0/live")

        assert (status, problem["code"]) == (401, "unauthorized")

    async def test_a_ticket_is_valid_once(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token("user_1"))

        async with opened(loans, "/shelves/0/live", f"ticket={ticket}") as socket:
            assert await socket.receive() == '{"book_title":"user_1"}'
        status, problem = await refused(loans, "/shelves/0/live", f"ticket={ticket}")
        assert (status, problem["code"]) == (401, "invalid_token")

    async def test_a_ticket_with_a_token_is_rejected(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token())

        assert (await refused(loans, "/shelves/0/live", f"ticket={ticket}", **bearing(loans)))[0] == 401

    async def test_a_malformed_ticket_is_not_sent_to_identity(self, loans: RunningService) -> None:
        assert (await refused(loans, "/shelves/0/live", "ticket=" + "x" * 129))[0] == 401
        assert loans.issuer.request_counts["tickets"] == 0

    async def test_a_ticket_cannot_be_redeemed_while_identity_is_unavailable(self, loans: RunningService) -> None:
        loans.issuer.down = True

        status, problem = await refused(loans, "/shelves/0/live", "ticket=x")
        assert (status, problem["code"]) == (503, "caller_unknown")

    async def test_an_expired_token_closes_the_connection(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans, lasting=60)) as socket:
            await socket.receive()
            loans.clock.advance(100)

            closed = await socket.receive()
        assert closed == CloseFrame(1008, "the token is no longer valid")

    async def test_a_page_of_another_origin_is_rejected(self, loans: RunningService) -> None:
        status, problem = await refused(loans, "/shelves/0/live", origin="https://evil.example", **bearing(loans))

        assert (status, problem["code"]) == (403, "origin_refused")

    @pytest.mark.parametrize(
        "headers",
        [{"origin": "http://localhost:3000"}, {"origin": "https://shop.example", "x_forwarded_host": "shop.example"}],
    )
    async def test_a_page_of_an_allowed_origin_is_accepted(
        self, loans: RunningService, headers: dict[str, str]
    ) -> None:
        async with opened(loans, "/shelves/0/live", **headers, **bearing(loans)) as socket:
            assert isinstance(await socket.receive(), str)

    async def test_the_number_of_connections_is_limited(self, loans: RunningService) -> None:
        mine = bearing(loans, subject="user_1")
        async with opened(loans, "/shelves/1/live", **mine), opened(loans, "/shelves/1/live", **mine):
            status, problem = await refused(loans, "/shelves/1/live", **mine)
            async with opened(loans, "/shelves/1/live", **bearing(loans)) as another:
                assert isinstance(await another.receive(), str)

        assert (status, problem["code"]) == (503, "too_many_streams")


class TestClientMessages:
    async def test_a_message_that_is_too_long_closes_the_connection(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans)) as socket:
            await socket.receive()
            await socket.send("x" * 201)
            assert await socket.receive() == CloseFrame(1009, "a message has at most 200 bytes")

    async def test_too_many_messages_close_the_connection(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans)) as socket:
            await socket.receive()
            for _ in range(4):
                await socket.send("?")
            assert await socket.receive() == CloseFrame(1008, "at most 3 messages in 60 s")

    async def test_a_client_that_leaves_frees_its_slot(self, loans: RunningService) -> None:
        mine = bearing(loans, subject="user_1")
        for _ in range(4):
            async with opened(loans, "/shelves/1/live", **mine) as socket:
                await socket.receive()
                await socket.aclose(1000, "")
            await _until(lambda: loans.context.sockets.total == 0)


class TestStopping:
    async def test_closes_with_service_restart(self, loans: RunningService) -> None:
        async with opened(loans, "/shelves/1/live", **bearing(loans)) as socket:
            await socket.receive()
            loans.context.stop()

            assert await socket.receive() == CloseFrame(1012, "the service stops")


class TestEventStreams:
    async def test_accept_a_ticket(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token("user_1"))

        first = await loans.anonymous.get(f"/shelves/events?ticket={ticket}")
        second = await loans.anonymous.get(f"/shelves/events?ticket={ticket}")

        assert (first.status_code, first.content) == (200, b"data: user_1\n\n")
        assert second.status_code == 401

    async def test_other_routes_accept_no_ticket(self, loans: RunningService) -> None:
        ticket = loans.issuer.ticket(loans.issuer.token())

        assert (await loans.anonymous.get(f"/books?ticket={ticket}")).status_code in {401, 422}
        assert loans.issuer.request_counts["tickets"] == 0


async def _until(condition: Any) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110  # the caller chooses the condition
            await asyncio.sleep(0)
