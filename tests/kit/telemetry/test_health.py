import asyncio

import pytest
from dirty_equals import IsFloat, IsPositiveInt

from portico.kit.telemetry import Health, LoopLag


class ClaimedSaga:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Asked:
    """A dependency that counts how often it was asked, and fails as told."""

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
def time() -> ClaimedSaga:
    return ClaimedSaga()


@pytest.fixture
def health(time: ClaimedSaga) -> Health:
    return Health("catalog", "1.2.3", now=time)


class TestAlive:
    async def test_it_says_who_answers(self, health: Health) -> None:
        health.add("database", Asked(OSError()))

        assert await health.alive() == {"status": "healthy", "service": "catalog", "version": "1.2.3"}

    async def test_it_names_its_neighbours(self, health: Health) -> None:
        health.add_neighbour("identity", "http://localhost:8001", Asked(OSError()))

        assert (await health.alive())["dependencies"] == {
            "identity": {"address": "http://localhost:8001", "status": "down"}
        }

    async def test_a_neighbour_that_does_not_respond_is_unknown(self, health: Health) -> None:
        neighbour = Asked()
        neighbour.answers.clear()
        health.add_neighbour("identity", "http://localhost:8001", neighbour)

        alive = await health.alive()

        assert alive["status"] == "healthy"
        assert alive["dependencies"]["identity"]["status"] == "unknown"
        await health.aclose()


class TestReady:
    async def test_it_is_ready_when_what_it_needs_is_up(self, health: Health) -> None:
        health.add("database", Asked())

        assert await health.ready() == (True, {"status": "ready", "service": "catalog", "version": "1.2.3"})

    async def test_it_is_not_when_something_critical_is_down(self, health: Health) -> None:
        health.add("database", Asked(ConnectionRefusedError()))

        ready, payload = await health.ready()

        assert not ready
        assert payload["status"] == "not_ready"
        assert payload["failing"] == ["database"]

    async def test_it_does_not_fail_for_a_neighbour_or_a_cache(self, health: Health) -> None:
        neighbour, cache = Asked(OSError()), Asked(OSError())
        health.add_neighbour("identity", "http://localhost:8001", neighbour)
        health.add("cache", cache, critical=False)

        ready, _ = await health.ready()

        assert ready
        assert (neighbour.times, cache.times) == (0, 0)

    async def test_it_is_not_while_stopping(self, health: Health) -> None:
        health.stopping = True

        ready, payload = await health.ready()

        assert (ready, payload["status"]) == (False, "stopping")


class TestAsking:
    async def test_many_who_ask_at_once_ask_once(self, health: Health) -> None:
        database = Asked()
        health.add("database", database)

        await asyncio.gather(*(health.ready() for _ in range(20)))

        assert database.times == 1

    async def test_an_answer_serves_for_a_second(self, health: Health, time: ClaimedSaga) -> None:
        database = Asked()
        health.add("database", database)
        await health.ready()
        time.time += 0.9
        await health.ready()
        assert database.times == 1

        time.time += 0.2
        database.failure = OSError()
        assert (await health.ready())[0] is False
        assert database.times == 2

    async def test_one_who_gives_up_takes_no_answer_from_the_others(self, health: Health) -> None:
        database = Asked()
        database.answers.clear()
        health.add("database", database)
        impatient, patient = asyncio.create_task(health.ready()), asyncio.create_task(health.ready())
        await database.reached.wait()

        impatient.cancel()
        database.answers.set()

        assert (await patient)[0]
        assert database.times == 1

    async def test_dependencies_are_asked_side_by_side(self, health: Health) -> None:
        both = asyncio.Barrier(2)
        health.add("database", both.wait)
        health.add("queue", both.wait)

        assert (await health.ready())[0]

    async def test_closing_ends_what_is_being_asked(self, health: Health) -> None:
        database = Asked()
        database.answers.clear()
        health.add("database", database)
        waiting = asyncio.create_task(health.ready())
        await database.reached.wait()

        await health.aclose()

        assert (await waiting)[0] is False


class TestDetailed:
    async def test_each_dependency_and_the_process(self, health: Health, time: ClaimedSaga) -> None:
        health.add("database", Asked())
        health.add("cache", Asked(ConnectionRefusedError("redis://:hunter2@cache")), critical=False)
        health.add_neighbour("identity", "http://localhost:8001", Asked())
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
    async def test_what_is_critical_decides(
        self, health: Health, failures: tuple[Exception | None, Exception | None], status: str
    ) -> None:
        health.add("database", Asked(failures[0]))
        health.add("cache", Asked(failures[1]), critical=False)

        assert (await health.detailed())["status"] == status


class TestLoopLag:
    async def test_it_is_how_much_later_than_asked_it_wakes(self, time: ClaimedSaga) -> None:
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
