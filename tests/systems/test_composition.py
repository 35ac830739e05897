import asyncio
from pathlib import Path

from tests.cli.systems import library

from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.settings import Environment
from portico.systems.catalog import catalog
from portico.systems.composition import Composition


async def ask(whole: Composition, part: str, path: str, token: str | None = None) -> Incoming:
    channel = LocalChannel(whole.apps)
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    answer = await channel.send(Outgoing(service=part, method="GET", path=path, headers=headers, timeout=20))
    await channel.aclose()
    return answer


class TestComposition:
    async def test_holds_the_gateway_and_every_service(self, tmp_path: Path) -> None:
        async with Composition(catalog, Environment({"DATA_DIR": str(tmp_path)})) as whole:
            assert list(whole.apps) == ["gateway", "identity", "catalog"]
            assert (await ask(whole, "gateway", "/products")).status == 200

    async def test_holds_the_parts_that_are_asked_for(self, tmp_path: Path) -> None:
        async with Composition(catalog, Environment({"DATA_DIR": str(tmp_path)}), parts=["catalog"]) as whole:
            assert list(whole.apps) == ["catalog"]
            assert not (tmp_path / "identity.db").exists()

    async def test_a_system_without_a_token_issuer_accepts_no_token(self, tmp_path: Path) -> None:
        async with Composition(library, Environment({"DATA_DIR": str(tmp_path)})) as whole:
            answers = [await ask(whole, part, "/books/greeting", "a.b.c") for part in ("gateway", "loans")]

        assert [each.status for each in answers] == [401, 401]

    async def test_of_a_short_command_refreshes_no_verification_keys(self, tmp_path: Path) -> None:
        environment = Environment({"DATA_DIR": str(tmp_path)})
        before = asyncio.all_tasks()

        async with Composition(catalog, environment, background=False):
            begun = {task.get_name() for task in asyncio.all_tasks() - before}
        async with Composition(catalog, environment):
            usual = {task.get_name() for task in asyncio.all_tasks() - before}

        assert ("gateway-token-verifier" in begun, "gateway-token-verifier" in usual) == (False, True)

    async def test_stopping_affects_every_service_and_the_gateway(self, tmp_path: Path) -> None:
        async with Composition(library, Environment({"DATA_DIR": str(tmp_path)})) as whole:
            whole.stop()

            assert [(await ask(whole, part, "/health/ready")).status for part in whole.apps] == [503, 503, 503]

    async def test_closing_it_begins_to_stop_it(self, tmp_path: Path) -> None:
        async with Composition(library, Environment({"DATA_DIR": str(tmp_path)})) as whole:
            contexts = list(whole.contexts.values())

        assert all(context.stopping.is_set() for context in contexts)
