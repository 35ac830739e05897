import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event

from portico.kit.jobs.runner import Job, JobRunner, job
from portico.kit.runtime.context import ServiceRuntime
from portico.testing.running_service import PATIENCE, RunningService


class Tally:
    """A job that counts how often it ran, and fails when told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.failing = False

    def job(self, minutes: int = 5) -> Job:
        async def tally(_running: ServiceRuntime) -> None:
            self.runs += 1
            if self.failing:
                raise RuntimeError("no")

        return Job("tally", tally, timedelta(minutes=minutes))


class TestJobRunner:
    async def test_runs_a_job_once_an_interval(self, loans: RunningService) -> None:
        tally, runner = Tally(), JobRunner(loans.context)
        job = tally.job(minutes=5)

        ran = []
        for seconds in (0, 299, 1, 1, 300):
            loans.clock.advance(seconds)
            ran.append(await runner.run_due(job))

        assert ran == [True, False, True, False, True]
        assert tally.runs == 3

    async def test_what_is_not_due_writes_nothing(self, loans: RunningService) -> None:
        tally, runner = Tally(), JobRunner(loans.context)
        job = tally.job(minutes=5)
        await runner.run_due(job)
        written: list[str] = []
        event.listen(
            loans.context.database.writer.sync_engine,
            "before_cursor_execute",
            lambda *said: written.append(f"{said[2]} {said[3]}"),
        )

        ran = [await runner.run_due(job) for _ in range(5)]

        assert ran == [False] * 5
        assert [each for each in written if "job:tally" in each] == []

    async def test_two_processes_run_it_once_between_them(self, loans: RunningService) -> None:
        tally, runners = Tally(), [JobRunner(loans.context) for _ in range(8)]
        job = tally.job()

        ran = await asyncio.gather(*(runner.run_due(job) for runner in runners))

        assert sum(ran) == tally.runs == 1

    async def test_one_that_fails_has_its_next_turn_all_the_same(self, loans: RunningService) -> None:
        tally, runner = Tally(), JobRunner(loans.context)
        tally.failing = True
        job = tally.job(minutes=5)
        with pytest.raises(RuntimeError):
            await runner.run_due(job)
        tally.failing = False
        loans.clock.advance(300)

        assert await runner.run_due(job)

    async def test_ends_though_a_job_takes_the_cancellation_for_its_own(self, loans: RunningService) -> None:
        begun = asyncio.Event()

        async def deaf(_running: ServiceRuntime) -> None:
            begun.set()
            with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` does when its answer comes at that moment
                await asyncio.Event().wait()

        jobs = (Job("deaf", deaf, timedelta(minutes=5)),)
        running = replace(loans.context, service=replace(loans.context.service, jobs=jobs))
        task = asyncio.create_task(JobRunner(running).run())
        await begun.wait()

        task.cancel()

        assert await asyncio.wait([task], timeout=PATIENCE) == ({task}, set())


class TestJob:
    def test_its_name_is_explicit_and_independent_of_the_function(self) -> None:
        @job(name="count-books", every=timedelta(minutes=1))
        async def tally(_context: ServiceRuntime) -> None: ...

        assert (tally.name, tally.every) == ("count-books", timedelta(minutes=1))

    @pytest.mark.parametrize("name", ["", "count_books", "Count-books", "x" * 65])
    def test_its_name_is_kebab_case(self, name: str) -> None:
        with pytest.raises(ValueError, match="kebab-case"):
            job(name=name, every=timedelta(minutes=1))
