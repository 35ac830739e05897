import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from portico.demo.probes import check_system
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed, NoResponse
from portico.testing.loopback import loopback_server

Arrival = Callable[[str, list[str]], AbstractAsyncContextManager[Walk]]


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def arrival(output: io.StringIO) -> Arrival:
    """Return a function that opens a walk to a server that claims to be `service` and has these paths."""

    @asynccontextmanager
    async def arrive(service: str, paths: list[str]) -> AsyncIterator[Walk]:
        async def health(_request: Request) -> JSONResponse:
            return JSONResponse({"status": "healthy", "service": service})

        async def document(_request: Request) -> JSONResponse:
            return JSONResponse({"paths": {path: {} for path in paths}})

        app = Starlette(routes=[Route("/health", health), Route("/openapi.json", document)])
        async with loopback_server(app) as address, Walk(Console(file=output, width=200), address) as walk:
            yield walk

    return arrive


class TestCheckSystem:
    async def test_prints_the_number_of_paths(self, arrival: Arrival, output: io.StringIO) -> None:
        async with arrival("gateway", ["/products", "/users"]) as walk:
            await check_system(walk, system="catalog", path="/products")

        assert "describes the 2 paths" in output.getvalue()

    async def test_waits_until_every_service_is_described(self, output: io.StringIO) -> None:
        documents = [
            {"info": {"description": "Not described here, because the service is unreachable: catalog."}, "paths": {}},
            {"info": {"description": "A shop"}, "paths": {"/products": {}}},
        ]

        async def health(_request: Request) -> JSONResponse:
            return JSONResponse({"status": "healthy", "service": "gateway"})

        async def document(_request: Request) -> JSONResponse:
            return JSONResponse(documents.pop(0))

        app = Starlette(routes=[Route("/health", health), Route("/openapi.json", document)])
        async with loopback_server(app) as address, Walk(Console(file=output, width=200), address) as walk:
            await check_system(walk, system="catalog", path="/products")

        assert "describes the 1 paths" in output.getvalue()

    async def test_names_the_command_if_nothing_responds(self, output: io.StringIO) -> None:
        async with Walk(Console(file=output), "http://127.0.0.1:1") as walk:
            with pytest.raises(NoResponse, match=r"Nothing responds at http://127.0.0.1:1. Start .*portico up catalog"):
                await check_system(walk, system="catalog", path="/products")

    async def test_rejects_the_address_of_a_service(self, arrival: Arrival) -> None:
        async with arrival("identity", []) as walk:
            with pytest.raises(ExpectationFailed, match=r"is identity. --url needs the address of the gateway"):
                await check_system(walk, system="catalog", path="/products")

    async def test_rejects_another_system(self, arrival: Arrival) -> None:
        async with arrival("gateway", ["/products"]) as walk:
            with pytest.raises(ExpectationFailed, match="it is not commerce"):
                await check_system(walk, system="commerce", path="/orders")
