import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import event

from portico.kit.jobs.runner import Job, JobRunner, job
from portico.kit.service_context import ServiceContext
from portico.testing.running_service import RESPONSE_TIMEOUT, RunningService


class Tally:
    """A job that counts its runs, and fails on request."""

    def __init__(self) -> None:
        self.runs = 0
        self.failing = False

    def job(self, minutes: int = 5) -> Job:
        async def tally(_context: ServiceContext) -> None:
            self.runs += 1
            if self.failing:
                raise RuntimeError("no")

        return Job("tally", tally, timedelta(minutes=minutes))


class TestJobRunner:
    async def test_runs_a_job_once_per_interval(self, loans: RunningService) -> None:
        tally, runner = Tally(), JobRunner(loans.context, loans.context.database)
        job = tally.job(minutes=5)

        ran = []
        for seconds in (0, 299, 1, 1, 300):
            loans.clock.advance(seconds)
            ran.append(await runner.run_due(job))

        assert ran == [True, False, True, False, True]
        assert tally.runs == 3

    async def test_waits_at_least_as_long_as_timers_are_exact(self, loans: RunningService) -> None:
        runner, job = JobRunner(loans.context, loans.context.database), Tally().job(minutes=5)
        await runner.run_due(job)
        whole = runner.pause(job)
        loans.clock.advance(299.999999)

        assert runner.pause(job) >= 0.001
        assert whole == pytest.approx(300, abs=0.01)

    async def test_a_job_that_is_not_due_writes_nothing(self, loans: RunningService) -> None:
        tally, runner = Tally(), JobRunner(loans.context, loans.context.database)
        job = tally.job(minutes=5)
        await runner.run_due(job)
        written: list[str] = []
        event.listen(
            loans.context.database.writer.sync_engine,
            "before_cursor_execute",
            lambda *call: written.append(f"{call[2]} {call[3]}"),
        )

        ran = [await runner.run_due(job) for _ in range(5)]

        assert ran == [False] * 5
        assert [each for each in written if "job:tally" in each] == []

    async def test_a_job_does_not_wait_for_a_clock_that_was_set_back(self, loans: RunningService) -> None:
        tally = Tally()
        runner, another = (JobRunner(loans.context, loans.context.database) for _ in range(2))
        job = tally.job(minutes=5)
        await runner.run_due(job)

        loans.clock.set_back(3600)
        ran = [await another.run_due(job), await runner.run_due(job), await another.run_due(job)]
        loans.clock.advance(300)
        ran.append(await runner.run_due(job))

        assert ran == [True, False, False, True]

    async def test_several_processes_run_a_job_once_per_interval(self, loans: RunningService) -> None:
        tally, runners = Tally(), [JobRunner(loans.context, loans.context.database) for _ in range(8)]
        job = tally.job()

        ran = await asyncio.gather(*(runner.run_due(job) for runner in runners))

        assert sum(ran) == tally.runs == 1

    async def test_a_failed_job_runs_again_at_its_next_interval(self, loans: RunningService) -> None:
        tally, runner = Tally(), JobRunner(loans.context, loans.context.database)
        tally.failing = True
        job = tally.job(minutes=5)
        with pytest.raises(RuntimeError):
            await runner.run_due(job)
        tally.failing = False
        loans.clock.advance(300)

        assert await runner.run_due(job)

    async def test_cancellation_ends_the_runner_even_if_a_job_suppresses_it(self, loans: RunningService) -> None:
        begun = asyncio.Event()

        async def suppresses_cancellation(_context: ServiceContext) -> None:
            begun.set()
            with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` does if its result arrives at that moment
                await asyncio.Event().wait()

        jobs = (Job("suppresses-cancellation", suppresses_cancellation, timedelta(minutes=5)),)
        task = asyncio.create_task(JobRunner(loans.context, loans.context.database, jobs).run())
        await begun.wait()

        task.cancel()

        assert await asyncio.wait([task], timeout=RESPONSE_TIMEOUT) == ({task}, set())


class TestJob:
    def test_its_name_is_explicit_and_independent_of_the_function(self) -> None:
        @job(name="count-books", every=timedelta(minutes=1))
        async def tally(_context: ServiceContext) -> None: ...

        assert (tally.name, tally.every) == ("count-books", timedelta(minutes=1))

    @pytest.mark.parametrize("name", ["", "count_books", "Count-books", "x" * 65])
    def test_its_name_is_kebab_case(self, name: str) -> None:
        with pytest.raises(ValueError, match="kebab-case"):
            job(name=name, every=timedelta(minutes=1))
