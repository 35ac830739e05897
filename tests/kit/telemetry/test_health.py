import asyncio

import pytest
from dirty_equals import IsFloat, IsPositiveInt

from portico.kit.telemetry import Health, LoopLag


class ManualClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class CountingProbe:
    """A probe that counts its calls and raises the given error, if any."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.times = 0
        self.reached = asyncio.Event()
        self.failure = failure
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self) -> None:
        self.times += 1
        self.reached.set()
        await self.answers.wait()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def time() -> ManualClock:
    return ManualClock()


@pytest.fixture
def health(time: ManualClock) -> Health:
    return Health("catalog", "1.2.3", now=time)


class TestAlive:
    async def test_it_names_service_and_version(self, health: Health) -> None:
        health.add("database", CountingProbe(OSError()))

        assert await health.alive() == {"status": "healthy", "service": "catalog", "version": "1.2.3"}

    async def test_it_names_other_services(self, health: Health) -> None:
        health.add_called_service("identity", "http://localhost:8001", CountingProbe(OSError()))

        assert (await health.alive())["dependencies"] == {
            "identity": {"address": "http://localhost:8001", "status": "down"}
        }

    async def test_a_service_that_does_not_respond_is_unknown(self, health: Health) -> None:
        called = CountingProbe()
        called.answers.clear()
        health.add_called_service("identity", "http://localhost:8001", called)

        alive = await health.alive()

        assert alive["status"] == "healthy"
        assert alive["dependencies"]["identity"]["status"] == "unknown"
        await health.aclose()


class TestReady:
    async def test_it_is_ready_if_critical_dependencies_are_up(self, health: Health) -> None:
        health.add("database", CountingProbe())

        assert await health.ready() == (True, {"status": "ready", "service": "catalog", "version": "1.2.3"})

    async def test_it_is_not_ready_if_a_critical_dependency_is_down(self, health: Health) -> None:
        health.add("database", CountingProbe(ConnectionRefusedError()))

        ready, payload = await health.ready()

        assert not ready
        assert payload["status"] == "not_ready"
        assert payload["failing"] == ["database"]

    async def test_other_services_and_caches_do_not_matter(self, health: Health) -> None:
        called, cache = CountingProbe(OSError()), CountingProbe(OSError())
        health.add_called_service("identity", "http://localhost:8001", called)
        health.add("cache", cache, critical=False)

        ready, _ = await health.ready()

        assert ready
        assert (called.times, cache.times) == (0, 0)

    async def test_it_is_not_ready_while_stopping(self, health: Health) -> None:
        health.stopping = True

        ready, payload = await health.ready()

        assert (ready, payload["status"]) == (False, "stopping")


class TestProbes:
    async def test_concurrent_callers_share_one_probe(self, health: Health) -> None:
        database = CountingProbe()
        health.add("database", database)

        await asyncio.gather(*(health.ready() for _ in range(20)))

        assert database.times == 1

    async def test_a_result_is_reused_for_a_second(self, health: Health, time: ManualClock) -> None:
        database = CountingProbe()
        health.add("database", database)
        await health.ready()
        time.time += 0.9
        await health.ready()
        assert database.times == 1

        time.time += 0.2
        database.failure = OSError()
        assert (await health.ready())[0] is False
        assert database.times == 2

    async def test_a_cancelled_caller_does_not_cancel_the_probe(self, health: Health) -> None:
        database = CountingProbe()
        database.answers.clear()
        health.add("database", database)
        impatient, patient = asyncio.create_task(health.ready()), asyncio.create_task(health.ready())
        await database.reached.wait()

        impatient.cancel()
        database.answers.set()

        assert (await patient)[0]
        assert database.times == 1

    async def test_dependencies_are_probed_concurrently(self, health: Health) -> None:
        both = asyncio.Barrier(2)
        health.add("database", both.wait)
        health.add("queue", both.wait)

        assert (await health.ready())[0]

    async def test_closing_cancels_probes(self, health: Health) -> None:
        database = CountingProbe()
        database.answers.clear()
        health.add("database", database)
        waiting = asyncio.create_task(health.ready())
        await database.reached.wait()

        await health.aclose()

        assert (await waiting)[0] is False


class TestDetailed:
    async def test_reports_each_dependency_and_the_process(self, health: Health, time: ManualClock) -> None:
        health.add("database", CountingProbe())
        health.add("cache", CountingProbe(ConnectionRefusedError("redis://:hunter2@cache")), critical=False)
        health.add_called_service("identity", "http://localhost:8001", CountingProbe())
        time.time = 61.04

        assert await health.detailed() == {
            "status": "degraded",
            "service": "catalog",
            "version": "1.2.3",
            "uptime_seconds": 61.0,
            "dependencies": {
                "database": {"critical": True, "status": "up", "latency_ms": 0.0},
                "cache": {"critical": False, "status": "down", "latency_ms": 0.0, "error": "refused"},
                "identity": {
                    "address": "http://localhost:8001",
                    "critical": False,
                    "status": "up",
                    "latency_ms": 0.0,
                },
            },
            "process": {
                "memory_bytes": IsPositiveInt,
                "open_files": IsPositiveInt,
                "threads": IsPositiveInt,
                "event_loop_lag_ms": IsFloat,
            },
        }

    @pytest.mark.parametrize(
        ("failures", "status"),
        [((None, None), "healthy"), ((None, OSError()), "degraded"), ((OSError(), None), "unhealthy")],
    )
    async def test_critical_dependencies_decide_the_status(
        self, health: Health, failures: tuple[Exception | None, Exception | None], status: str
    ) -> None:
        health.add("database", CountingProbe(failures[0]))
        health.add("cache", CountingProbe(failures[1]), critical=False)

        assert (await health.detailed())["status"] == status


class TestLoopLag:
    async def test_it_is_the_delay_of_a_short_sleep(self, time: ManualClock) -> None:
        late = iter([0.0, 0.25])
        done = asyncio.Event()

        async def sleep(seconds: float) -> None:
            extra = next(late, None)
            if extra is None:
                done.set()
                await asyncio.Event().wait()
            time.time += seconds + (extra or 0)

        lag = LoopLag(sleep=sleep, now=time)
        running = asyncio.create_task(lag.run())
        await done.wait()
        running.cancel()

        assert lag.seconds == pytest.approx(0.25)
