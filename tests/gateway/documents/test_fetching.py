import orjson
import pytest
from tests.gateway.upstreams import Given, Standing

from portico.gateway.documents import Documents
from portico.gateway.documents.fetching import KEPT
from portico.gateway.routes import Route, RouteTable
from portico.testing.clock import HeldClock

TABLE = RouteTable([Route("catalog", "GET", "/products"), Route("files", "GET", "/files/{path:path}")])


def described(path: str) -> Given:
    return Given(200, orjson.dumps({"paths": {path: {"get": {"responses": {}}}, "/health": {"get": {}}}}))


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


def documents_of(clock: HeldClock, **upstreams: Standing) -> Documents:
    return Documents(title="shop", summary="A shop", version="1", upstreams=upstreams, table=TABLE, clock=clock)


class TestDocuments:
    async def test_what_is_routed_is_described(self, clock: HeldClock) -> None:
        documents = documents_of(
            clock, catalog=Standing(described("/products")), files=Standing(described("/files/{path}"))
        )
        document = orjson.loads(await documents.document())

        assert list(document["paths"]) == ["/files/{path}", "/products"]
        assert document["info"] == {"title": "shop", "version": "1", "description": "A shop"}

    @pytest.mark.parametrize("answer", [None, Given(503), Given(200, b"not json")])
    async def test_a_service_that_is_away_is_named(self, clock: HeldClock, answer: Given | None) -> None:
        documents = documents_of(clock, catalog=Standing(described("/products")), files=Standing(answer))
        document = orjson.loads(await documents.document())

        assert list(document["paths"]) == ["/products"]
        assert "files" in document["info"]["description"]

    async def test_it_is_kept_for_a_while(self, clock: HeldClock) -> None:
        catalog = Standing(described("/products"))
        documents = documents_of(clock, catalog=catalog)
        for wait in (0, KEPT - 1, 2):
            clock.advance(wait)
            await documents.document()

        assert len(catalog.asked) == 2

    async def test_an_incomplete_one_is_made_again_soon(self, clock: HeldClock) -> None:
        catalog = Standing(None)
        documents = documents_of(clock, catalog=catalog)
        await documents.document()
        catalog.answer = described("/products")
        clock.advance(1.1)

        assert b"/products" in await documents.document()
