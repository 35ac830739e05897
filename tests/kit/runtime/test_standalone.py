import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message

from portico import asgi
from portico.contracts.token_verification import verifier_of
from portico.kit.calls.channel import Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.runtime.standalone import StandaloneService
from portico.kit.settings import Environment


def application(**variables: str) -> ASGIApp:
    named = {"PORTICO_SYSTEM": "tests.cli.systems:library", "PORTICO_SERVICE": "patience"}
    return StandaloneService(verifier_of=verifier_of, environment=Environment({**named, **variables}))


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[Message]:
    """Run the lifespan protocol like a server, and yield the application's response to the start."""
    received_messages: asyncio.Queue[Message] = asyncio.Queue()
    sent_messages: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.ensure_future(app({"type": "lifespan"}, received_messages.get, sent_messages.put))
    await received_messages.put({"type": "lifespan.startup"})
    started = await sent_messages.get()
    try:
        yield started
    finally:
        if started["type"] == "lifespan.startup.complete":
            await received_messages.put({"type": "lifespan.shutdown"})
            assert (await sent_messages.get())["type"] == "lifespan.shutdown.complete"
        await task


async def health(app: ASGIApp) -> Any:
    channel = LocalChannel({"patience": app})
    answer = await channel.send(Outgoing(service="patience", method="GET", path="/health", timeout=20))
    await channel.aclose()
    return answer.status


class TestStandaloneService:
    async def test_runs_as_long_as_its_server(self, tmp_path: Path) -> None:
        app = application(DATA_DIR=str(tmp_path))

        async with lifespan(app) as started:
            assert started["type"] == "lifespan.startup.complete"
            assert await health(app) == 200

    async def test_reports_a_failed_start_to_the_server(self, tmp_path: Path) -> None:
        (tmp_path / "patience.db").write_text("no database, whatever else it may be" * 100)

        async with lifespan(application(DATA_DIR=str(tmp_path))) as started:
            assert started["type"] == "lifespan.startup.failed"
            assert "is damaged" in started["message"]

    async def test_refuses_to_start_without_the_name_of_a_service(self) -> None:
        async with lifespan(application(PORTICO_SERVICE="")) as started:
            assert started["type"] == "lifespan.startup.failed"
            assert "PORTICO_SERVICE is not set" in started["message"]

    async def test_refuses_to_start_a_service_that_the_system_does_not_have(self) -> None:
        async with lifespan(application(PORTICO_SERVICE="patent")) as started:
            assert started["type"] == "lifespan.startup.failed"
            assert "Did you mean patience?" in started["message"]

    async def test_fails_requests_without_a_lifespan(self) -> None:
        assert await health(application()) == 500


class TestFactory:
    def test_needs_no_environment_until_the_lifespan_begins(self) -> None:
        assert isinstance(asgi.app(), StandaloneService)
