import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.examples.loans import service

from portico.kit.runtime.context import NotDeclared, ServiceRuntime
from portico.kit.runtime.host import _end, address_of
from portico.kit.runtime.system import Placement
from portico.kit.settings import Settings
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class First: ...


class Second: ...


def recording_resource(
    kind: type[Any], events: list[str], *, failing: bool = False
) -> Callable[[ServiceRuntime], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def resource(_running: ServiceRuntime) -> AsyncIterator[Any]:
        if failing:
            raise OSError("it does not open")
        events.append(f"open {kind.__name__}")
        yield kind()
        events.append(f"close {kind.__name__}")

    return resource


class TestHost:
    async def test_opens_in_order_and_closes_in_reverse(self, sqlite_databases: Databases) -> None:
        events: list[str] = []
        whole = replace(
            service, resources={First: recording_resource(First, events), Second: recording_resource(Second, events)}
        )

        async with run_service(whole, sqlite_databases) as loans:
            assert isinstance(loans.context.resource(First), First)
            assert events == ["open First", "open Second"]

        assert events[2:] == ["close Second", "close First"]

    async def test_logs_a_resource_that_fails_to_close_and_closes_the_others(self, sqlite_databases: Databases) -> None:
        events: list[str] = []

        @asynccontextmanager
        async def slow_to_close(_running: ServiceRuntime) -> AsyncIterator[Second]:
            yield Second()
            raise TimeoutError("the server did not respond")

        whole = replace(service, resources={First: recording_resource(First, events), Second: slow_to_close})

        with capture_logs() as lines:
            async with run_service(whole, sqlite_databases, background=False):
                pass

        assert events == ["open First", "close First"]
        assert [(line["event"], line["log_level"]) for line in lines] == [("resource_not_closed", "error")]

    async def test_closes_open_resources_when_the_next_one_fails(self, sqlite_databases: Databases) -> None:
        events: list[str] = []
        whole = replace(
            service,
            resources={
                First: recording_resource(First, events),
                Second: recording_resource(Second, events, failing=True),
            },
        )

        with pytest.raises(OSError, match="does not open"):
            async with run_service(whole, sqlite_databases):
                pass

        assert events == ["open First", "close First"]

    async def test_an_undeclared_resource_is_rejected(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as loans:
            with pytest.raises(NotDeclared, match="First"):
                loans.context.resource(First)

    async def test_runs_background_work(self, sqlite_databases: Databases) -> None:
        began, ended = asyncio.Event(), asyncio.Event()

        async def count(context: ServiceRuntime) -> None:
            began.set()
            try:
                await context.stopping.wait()
            finally:
                ended.set()

        async with run_service(replace(service, background=[count]), sqlite_databases):
            await asyncio.wait_for(began.wait(), 60)

        assert ended.is_set()

    async def test_runs_no_background_work_for_a_command(self, sqlite_databases: Databases) -> None:
        called: list[ServiceRuntime] = []

        async def count(context: ServiceRuntime) -> None:
            called.append(context)

        async with run_service(replace(service, background=[count]), sqlite_databases, background=False):
            await asyncio.sleep(0)

        assert called == []


class TestRedis:
    async def test_is_a_dependency_that_is_not_critical(self, sqlite_databases: Databases) -> None:
        variables = {"REDIS_URL": "redis://127.0.0.1:1"}  # a privileged port without a server

        async with run_service(service, sqlite_databases, variables=variables) as loans:
            detailed = await loans.context.health.detailed()
            ready = (await loans.anonymous.get("/health/ready")).status_code

        assert detailed["dependencies"]["cache"]["status"] == "down"
        assert (detailed["status"], ready) == ("degraded", 200)


class TestWorkThatIgnoresCancellation:
    async def test_is_cancelled_repeatedly(self) -> None:
        swallowed = 0

        async def deaf() -> None:
            nonlocal swallowed
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed += 1
                    if swallowed > 1:
                        raise

        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await _end(task)

        assert (task.cancelled(), swallowed) == (True, 2)


class TestAddressOf:
    def test_a_hyphen_in_the_name_is_an_underscore_in_the_variable(self) -> None:
        placement = Placement(service, "data-import", 8001)

        assert address_of(placement, Settings(service_urls={"data_import": ("http://import:1",)})) == "http://import:1"
