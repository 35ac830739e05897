import orjson
import pytest
from tests.gateway.scripted_upstreams import StubResponse, StubUpstream

from portico.gateway.openapi import SystemDocument
from portico.gateway.openapi.document import CACHE_SECONDS
from portico.gateway.routes import Route, RouteTable
from portico.testing.clock import ManualClock

TABLE = RouteTable([Route("catalog", "GET", "/products"), Route("files", "GET", "/files/{path:path}")])


def described(path: str) -> StubResponse:
    return StubResponse(200, orjson.dumps({"paths": {path: {"get": {"responses": {}}}, "/health": {"get": {}}}}))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def document_of(clock: ManualClock, **upstreams: StubUpstream) -> SystemDocument:
    return SystemDocument(title="shop", summary="A shop", version="1", upstreams=upstreams, table=TABLE, clock=clock)


class TestDocuments:
    async def test_routed_operations_are_described(self, clock: ManualClock) -> None:
        system_document = document_of(
            clock, catalog=StubUpstream(described("/products")), files=StubUpstream(described("/files/{path}"))
        )
        document = orjson.loads(await system_document.render())

        assert list(document["paths"]) == ["/files/{path}", "/products"]
        assert document["info"] == {"title": "shop", "version": "1", "description": "A shop"}

    @pytest.mark.parametrize("answer", [None, StubResponse(503), StubResponse(200, b"not json")])
    async def test_an_unreachable_service_is_listed(self, clock: ManualClock, answer: StubResponse | None) -> None:
        system_document = document_of(clock, catalog=StubUpstream(described("/products")), files=StubUpstream(answer))
        document = orjson.loads(await system_document.render())

        assert list(document["paths"]) == ["/products"]
        assert "files" in document["info"]["description"]

    async def test_the_document_is_cached(self, clock: ManualClock) -> None:
        catalog = StubUpstream(described("/products"))
        system_document = document_of(clock, catalog=catalog)
        for wait in (0, CACHE_SECONDS - 1, 2):
            clock.advance(wait)
            await system_document.render()

        assert len(catalog.requests) == 2

    async def test_an_incomplete_one_is_made_again_soon(self, clock: ManualClock) -> None:
        catalog = StubUpstream(None)
        system_document = document_of(clock, catalog=catalog)
        await system_document.render()
        catalog.answer = described("/products")
        clock.advance(1.1)

        assert b"/products" in await system_document.render()
