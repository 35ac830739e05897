"""Services of the kit behind the gateway: clients see the same behaviour in one process and over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Literal

import aiohttp
import pytest
from tests.gateway.proxy.servers import served

from portico.gateway import Gateway
from portico.kit.auth.access import FromService, SignedIn, permitted
from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import TokenFormat
from portico.kit.auth.verification import KeyVerifier
from portico.kit.foundation.problems import Conflict
from portico.kit.http.router import Router
from portico.kit.http.schema import Schema
from portico.kit.http.sockets import Socket
from portico.kit.runtime.host import Host
from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System
from portico.kit.settings import Environment
from portico.testing.clock import ManualClock
from portico.testing.databases import Databases
from portico.testing.issuer import Issuer

loans = Router(prefix="/loans", tags=["loans"])
books = Router(prefix="/books", tags=["books"])


class AlreadyLent(Conflict):
    code = "already_lent"
    detail = "Book {book_id} is on loan."

    book_id: str


class LoanCreate(Schema):
    book_id: str


class Summary(Schema):
    book_id: str
    lent_to: str


class BookSummary(Schema):
    book_id: str


@loans.post("", status_code=201, errors=[AlreadyLent])
async def lend(draft: LoanCreate, caller: Annotated[Principal, permitted("loans:write")]) -> Summary:
    """Lend a book."""
    if draft.book_id == "book_lent":
        raise AlreadyLent(book_id=draft.book_id)
    return Summary(book_id=draft.book_id, lent_to=caller.subject)


@loans.get("/mine")
async def mine(caller: SignedIn) -> Summary:
    """Return the loan of the caller."""
    return Summary(book_id="book_1", lent_to=caller.subject)


@loans.get("/audit")
async def audit(caller: FromService) -> Summary:
    """For services only."""
    return Summary(book_id="book_1", lent_to=caller.subject)


@loans.get("/{book_id}")
async def who_has(book_id: str) -> Summary:
    """Return the loan of a book."""
    return Summary(book_id=book_id, lent_to="user_1")


@loans.websocket("/{book_id}/live", errors=[AlreadyLent])
async def follow(book_id: str, caller: SignedIn, socket: Socket) -> None:
    """Send the loan of a book, and keep the WebSocket open."""
    if book_id == "book_lent":
        raise AlreadyLent(book_id=book_id)
    await socket.accept()
    await socket.send(Summary(book_id=book_id, lent_to=caller.subject))
    await asyncio.Event().wait()


@books.get("/{book_id}")
async def read(book_id: str) -> BookSummary:
    """Return a book."""
    return BookSummary(book_id=book_id)


LOANS = Service(name="loans", summary="Who has which book", module=__name__, routers=[loans])
BOOKS = Service(name="books", summary="The books", module=__name__, routers=[books])


class Library:
    """A client of the system, with its issuer of tokens."""

    def __init__(self, client: aiohttp.ClientSession, issuer: Issuer, host: Host) -> None:
        self.client = client
        self.issuer = issuer
        self.host = host

    def bearing(self, *permissions: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token('user_1', permissions=permissions)}"}


@pytest.fixture(params=["snake", "camel"])
def case(request: pytest.FixtureRequest) -> Literal["snake", "camel"]:
    chosen: Literal["snake", "camel"] = request.param
    return chosen


@pytest.fixture(params=["in one process", "by sockets"])
async def library(
    request: pytest.FixtureRequest, sqlite_databases: Databases, case: Literal["snake", "camel"]
) -> AsyncIterator[Library]:
    system = System("library", "A library", gateway=1, services={LOANS: 1, BOOKS: 2}, case=case, prefix="/api")
    clock = ManualClock()
    issuer = Issuer(clock, TokenFormat(issuer="http://localhost:1", audience="library"))
    environment = Environment({"DATABASE_URL": sqlite_databases.per_service(), "SERVICE_SECRET": "s" * 48})
    async with AsyncExitStack() as stack:
        host = Host(system, environment, verifier_of=lambda _: KeyVerifier(issuer, issuer.form, clock), clock=clock)
        await stack.enter_async_context(host)
        addresses = {}
        if request.param == "by sockets":
            for name, app in host.apps.items():
                addresses[name] = "http://" + await stack.enter_async_context(served(app))
        gateway = Gateway(
            system,
            host.settings,
            verifier=KeyVerifier(issuer, issuer.form, clock),
            apps={} if addresses else host.apps,
            addresses=addresses,
            clock=clock,
        )
        await stack.enter_async_context(gateway)
        at = await stack.enter_async_context(served(gateway))
        yield Library(await stack.enter_async_context(aiohttp.ClientSession(f"http://{at}")), issuer, host)


class TestThroughTheGateway:
    async def test_a_command_and_its_response_are_forwarded(self, library: Library, case: str) -> None:
        answer = await library.client.post(
            "/api/loans", json={"book_id": "book_1"}, headers=library.bearing("loans:write")
        )
        body = await answer.json()

        assert answer.status == 201
        assert body == (
            {"book_id": "book_1", "lent_to": "user_1"} if case == "snake" else {"bookId": "book_1", "lentTo": "user_1"}
        )

    async def test_a_problem_of_a_service_is_forwarded(self, library: Library, case: str) -> None:
        answer = await library.client.post(
            "/api/loans",
            json={"book_id": "book_lent"},
            headers={**library.bearing("loans:write"), "X-Request-ID": "r-1"},
        )
        problem = await answer.json(content_type="application/problem+json")

        assert answer.status == 409
        assert problem["code"] == "already_lent"
        assert problem["book_id" if case == "snake" else "bookId"] == "book_lent"
        assert problem["request_id" if case == "snake" else "requestId"] == "r-1"
        assert answer.headers.getall("X-Request-ID") == ["r-1"]

    async def test_problems_of_the_gateway_look_like_those_of_services(self, library: Library, case: str) -> None:
        edge = await (await library.client.get("/api/loans/mine")).json(content_type="application/problem+json")
        missing = await library.client.post("/api/loans", json={"book_id": "b"}, headers=library.bearing("other:write"))

        common = {"type", "title", "status", "detail", "instance", "code"}
        assert set(edge) == common | {"request_id" if case == "snake" else "requestId"}
        assert (await missing.json(content_type=None))["permission"] == "loans:write"

    async def test_routes_for_services_only_are_404(self, library: Library) -> None:
        assert (await library.client.get("/api/loans/audit", headers=library.bearing("*"))).status == 404

    async def test_health_pages_of_services_are_not_routed(self, library: Library) -> None:
        health = await (await library.client.get("/health")).json()

        assert health["service"] == "gateway"
        assert health["services"] == {"loans": True, "books": True}

    async def test_one_document_describes_the_system(self, library: Library, case: str) -> None:
        document = await (await library.client.get("/openapi.json")).json()
        schemas = document["components"]["schemas"]
        references = {word.rsplit("/", 1)[-1] for word in _references(document)}

        parameter = "{book_id}" if case == "snake" else "{bookId}"
        assert set(document["paths"]) == {
            "/api/loans",
            "/api/loans/mine",
            f"/api/loans/{parameter}",
            f"/api/books/{parameter}",
        }
        assert references <= set(schemas)
        assert {"Summary", "BookSummary", "AlreadyLent"} <= set(schemas)
        assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        assert document["paths"]["/api/loans"]["post"]["security"] == [{"bearer": []}]
        assert "security" not in document["paths"][f"/api/books/{parameter}"]["get"]

    async def test_response_headers_are_not_duplicated(self, library: Library) -> None:
        for sent in ({}, {"Origin": "http://localhost:3000"}):
            answer = await library.client.get("/api/books/book_1", headers=sent)
            names = [name.lower() for name in answer.headers]

            assert answer.status == 200
            assert sorted(name for name in set(names) if names.count(name) > 1) == []


class TestAWebSocketThroughTheGateway:
    async def test_a_ticket_opens_it_once(self, library: Library, case: str) -> None:
        ticket = library.issuer.ticket(library.issuer.token("user_1"))

        async with library.client.ws_connect(f"/api/loans/book_1/live?ticket={ticket}") as socket:
            received = await socket.receive_json(timeout=10)

        assert received == (
            {"book_id": "book_1", "lent_to": "user_1"} if case == "snake" else {"bookId": "book_1", "lentTo": "user_1"}
        )
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await library.client.ws_connect(f"/api/loans/book_1/live?ticket={ticket}")
        assert refused.value.status == 401

    async def test_a_token_opens_it(self, library: Library) -> None:
        async with library.client.ws_connect("/api/loans/book_1/live", headers=library.bearing()) as socket:
            assert (await socket.receive_json(timeout=10)) is not None

    async def test_a_problem_of_a_service_refuses_the_handshake(self, library: Library) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await library.client.ws_connect("/api/loans/book_lent/live", headers=library.bearing())

        assert refused.value.status == 409

    async def test_an_allowed_origin_may_open_it_and_another_not(self, library: Library) -> None:
        ours = {**library.bearing(), "Origin": "http://localhost:3000"}
        async with library.client.ws_connect("/api/loans/book_1/live", headers=ours) as socket:
            assert (await socket.receive_json(timeout=10)) is not None
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await library.client.ws_connect(
                "/api/loans/book_1/live", headers={**library.bearing(), "Origin": "https://evil.example"}
            )
        assert refused.value.status == 403

    async def test_a_service_that_stops_says_so(self, library: Library) -> None:
        async with library.client.ws_connect("/api/loans/book_1/live", headers=library.bearing()) as socket:
            await socket.receive_json(timeout=10)
            library.host.stop()

            message = await socket.receive(timeout=10)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 1012


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [one for value in node.values() for one in _references(value)]
    return [one for value in node for one in _references(value)] if isinstance(node, list) else []
