import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message
from tests.cli.systems import patience

from portico.contracts.verifying import verifier_of
from portico.kit.calls.channel import Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.runtime.standalone import standalone
from portico.kit.settings.environment import Environment


def application(**variables: str) -> ASGIApp:
    environment = Environment({"PORTICO_SYSTEM": "tests.cli.systems:library", **variables})
    return standalone(patience, verifier_of=verifier_of, environment=environment)


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[Message]:
    """What a server does around an application; gives what the application said of its start."""
    asked: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.ensure_future(app({"type": "lifespan"}, asked.get, said.put))
    await asked.put({"type": "lifespan.startup"})
    started = await said.get()
    try:
        yield started
    finally:
        if started["type"] == "lifespan.startup.complete":
            await asked.put({"type": "lifespan.shutdown"})
            assert (await said.get())["type"] == "lifespan.shutdown.complete"
        await task


async def health(app: ASGIApp) -> Any:
    channel = LocalChannel({"patience": app})
    answer = await channel.send(Outgoing(service="patience", method="GET", path="/health", timeout=20))
    await channel.aclose()
    return answer.status


class TestStandalone:
    async def test_a_service_lives_as_long_as_its_server(self, tmp_path: Path) -> None:
        app = application(DATA_DIR=str(tmp_path))

        async with lifespan(app) as started:
            assert started["type"] == "lifespan.startup.complete"
            assert await health(app) == 200

    async def test_what_keeps_it_from_starting_is_told_to_the_server(self, tmp_path: Path) -> None:
        (tmp_path / "patience.db").write_text("no database, whatever else it may be" * 100)

        async with lifespan(application(DATA_DIR=str(tmp_path))) as started:
            assert started["type"] == "lifespan.startup.failed"
            assert "is damaged" in started["message"]

    async def test_no_server_is_the_first_thing_it_needs(self) -> None:
        assert await health(application()) == 500
