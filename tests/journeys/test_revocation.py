"""A revoked session, in processes that cannot read the feed: they receive only the event."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.gateway.proxy.servers import bound, served
from tests.journeys.shop import PASSWORD, SETTINGS, TIMEOUT

from portico.gateway_client import HttpTransport
from portico.kit.settings import Environment
from portico.servers import Server
from portico.shop_client import ShopClient
from portico.systems.catalog import catalog
from portico.systems.composition import Composition

SHORTLY = 1.0  # seconds in which an event comes, as a rule; if not, another one is tried


def without_feed(identity: ASGIApp) -> ASGIApp:
    """Return identity without its feed of revocations."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/auth/revocations":
            await Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)(scope, receive, send)
        else:
            await identity(scope, receive, send)

    return app


async def taking_everything(scope: Scope, receive: Receive, send: Send) -> None:
    """A service that accepts every token."""
    await Response(status_code=HTTPStatus.CREATED)(scope, receive, send)


@asynccontextmanager
async def three_processes(variables: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """Identity, catalog and the gateway as three processes have them; their addresses.

    The gateway's catalog is one that takes everything, so that what the gateway lets through is seen.
    """
    sockets = {name: bound() for name in ("identity", "catalog", "gateway", "anything")}
    at = {name: "http://{}:{}".format(*each.getsockname()) for name, each in sockets.items()}
    own = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET")}
    settings = {**SETTINGS, **own, **variables, "TOKEN_VERIFICATION": "keys", "IDENTITY_SERVICE_URL": at["identity"]}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(taking_everything, sockets["anything"]))
        for part in ("identity", "catalog", "gateway"):
            environment = Environment({**settings, "CATALOG_SERVICE_URL": at["anything"]})
            whole = await stack.enter_async_context(Composition(catalog, environment, parts=[part]))
            app = without_feed(whole.apps[part]) if part == "identity" else whole.apps[part]
            await stack.enter_async_context(served(app, sockets[part]))
        yield at


def server_of(broker: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """The variable that names a broker's server."""
    server: Server = request.getfixturevalue(f"{broker}_server")
    return {f"{broker.upper()}_URL": server.url()}


class TestRevokedSession:
    async def test_is_rejected_by_a_service_that_cannot_read_the_feed(self, tmp_path: Path) -> None:
        assert await refused_by_event("catalog", {"DATA_DIR": str(tmp_path)})

    @pytest.mark.slow
    @pytest.mark.parametrize("verifying", ["catalog", "gateway"])
    @pytest.mark.parametrize("broker", ["rabbitmq", "nats", "kafka"])
    async def test_is_rejected_after_an_event_from_a_broker_server(
        self, broker: str, verifying: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        assert await refused_by_event(verifying, {"DATA_DIR": str(tmp_path), **server_of(broker, request)})


async def refused_by_event(verifying: str, variables: dict[str, str]) -> bool:
    """Return whether a process accepts a token, and rejects it after its session has ended. Raises TimeoutError."""
    async with (
        three_processes(variables) as at,
        HttpTransport(at["identity"]) as transport,
        asyncio.timeout(TIMEOUT),
    ):
        for number in count():  # of what was ended before the process began to listen it does not hear here
            person = await ShopClient(transport).register(f"person-{number}@example.com", PASSWORD)
            if await _writes(at[verifying], person.token) == HTTPStatus.UNAUTHORIZED:
                return False
            await person.request("POST", "/auth/logout")
            if await _is_refused_shortly(at[verifying], person.token):
                return True
    raise AssertionError("it goes on until it is refused")


async def _writes(address: str, token: str) -> int:
    """Return the status of an invalid write: the caller is verified before the body."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{address}/products", json={"name": "too late"}, headers=headers) as answer,
    ):
        return answer.status


async def _is_refused_shortly(address: str, token: str) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(SHORTLY):
            while await _writes(address, token) != HTTPStatus.UNAUTHORIZED:
                pass
            return True
    return False
