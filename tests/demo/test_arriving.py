import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from portico.demo.probes import look_around
from portico.demo.walkthrough import NoAnswer, NotAsItShouldBe, Walk
from portico.testing.loopback import served

Arrival = Callable[[str, list[str]], AbstractAsyncContextManager[Walk]]


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def arrival(said: io.StringIO) -> Arrival:
    """A walk to where `service` answers, whose document has these paths."""

    @asynccontextmanager
    async def arrive(service: str, paths: list[str]) -> AsyncIterator[Walk]:
        async def health(_request: Request) -> JSONResponse:
            return JSONResponse({"status": "healthy", "service": service})

        async def document(_request: Request) -> JSONResponse:
            return JSONResponse({"paths": {path: {} for path in paths}})

        app = Starlette(routes=[Route("/health", health), Route("/openapi.json", document)])
        async with served(app) as address, Walk(Console(file=said, width=200), address) as walk:
            yield walk

    return arrive


class TestLookAround:
    async def test_tells_how_much_there_is(self, arrival: Arrival, said: io.StringIO) -> None:
        async with arrival("gateway", ["/products", "/users"]) as walk:
            await look_around(walk, system="catalog", path="/products")

        assert "describes 2 paths" in said.getvalue()

    async def test_where_nobody_answers_it_says_what_to_start(self, said: io.StringIO) -> None:
        async with Walk(Console(file=said), "http://127.0.0.1:1") as walk:
            with pytest.raises(NoAnswer, match=r"Nobody answers at http://127.0.0.1:1. Start .*portico up catalog"):
                await look_around(walk, system="catalog", path="/products")

    async def test_a_services_own_port_is_told_from_the_gateways(self, arrival: Arrival) -> None:
        async with arrival("identity", []) as walk:
            with pytest.raises(NotAsItShouldBe, match=r"is identity. --url takes the gateway's"):
                await look_around(walk, system="catalog", path="/products")

    async def test_another_system_is_named_as_such(self, arrival: Arrival) -> None:
        async with arrival("gateway", ["/products"]) as walk:
            with pytest.raises(NotAsItShouldBe, match="another than commerce"):
                await look_around(walk, system="commerce", path="/orders")
