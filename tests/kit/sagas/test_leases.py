import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select, update
from tests.examples.loans.desk import Desk
from tests.examples.loans.ids import LendingId
from tests.examples.loans.saga import lend_for_deposit
from tests.kit.sagas.library import Library, open_library

from portico.kit.data.kit_tables import sagas
from portico.kit.sagas.commits import AttemptCommits, Member
from portico.kit.sagas.leases import ClaimedSaga, lease_of
from portico.testing.databases import Databases

ROOT = Path(__file__).parents[3]
LIMIT = 60.0  # seconds; a process takes long to start on a busy machine


class TestTwoRunners:
    async def test_execute_each_saga_once(self, library: Library) -> None:
        lendings = [await library.asked(f"Volume {number}") for number in range(12)]

        await asyncio.gather(library.runner.run_due(), library.another_runner().run_due())

        assert sorted(library.desk.charges) == sorted(f"{lending}/deposit" for lending in lendings)
        assert {await library.story(lending) for lending in lendings} == {"asked reserved paid lent"}

    async def test_do_not_claim_each_others_sagas(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.open.clear()
        first = asyncio.create_task(library.runner.run_due())
        await asyncio.wait_for(library.desk.began.wait(), LIMIT)

        library.loans.clock.advance(14)  # the step may take 10 s; its lease is longer
        await library.another_runner().run_due()
        asked = list(library.desk.charges)
        library.desk.open.set()
        await first

        assert asked == [f"{lending}/deposit"]
        assert await library.story(lending) == "asked reserved paid lent"


class TestClaims:
    async def test_take_the_longest_due_first_and_return_the_rows_as_they_were(self, library: Library) -> None:
        lendings = []
        for number in range(4):
            lendings.append(await library.asked(f"Volume {number}"))
            library.loans.clock.advance(1)
        leases = library.runner._leases

        first, second = await leases.claim(3), await leases.claim(3)

        assert [row.subject for row in (*first, *second)] == lendings
        assert {(row.owner, row.fence, row.attempts, row.step_started_at) for row in first} == {(None, 0, 0, None)}
        async with library.loans.context.reader() as reader:
            rows = await reader.rows(select(sagas).order_by(sagas.c.subject))
        now = library.loans.clock.now()
        assert {(row.owner, row.fence, row.attempts, row.in_doubt) for row in rows} == {(leases.owner, 1, 1, False)}
        assert {row.step_started_at for row in rows} == {now}
        assert {row.due_at for row in rows} == {now + lease_of(lend_for_deposit, rows[0].step)}

    async def test_of_an_expired_lease_leave_the_step_in_doubt(self, library: Library) -> None:
        await library.asked()
        await library.runner._leases.claim(1)
        library.loans.clock.advance(60)

        (row,) = await library.another_runner()._leases.claim(1)

        assert library.runner._leases.load(row).lease_expired
        async with library.loans.context.reader() as reader:
            (row,) = await reader.rows(select(sagas))
        assert (row.fence, row.attempts, row.in_doubt) == (2, 2, True)


class TestClockSetBack:
    async def test_a_lease_and_the_next_steps_do_not_wait_for_the_clock(self, library: Library) -> None:
        lending = await library.asked()
        await library.runner._leases.claim(1)  # by a process that ends

        library.loans.clock.set_back(3600)
        remaining = await library.runner._leases.seconds_until_due()
        await library.another_runner().run_due()

        assert remaining == 0.0
        assert await library.story(lending) == "asked reserved paid lent"

    async def test_a_lease_in_use_is_respected(self, library: Library) -> None:
        await library.asked()
        await library.runner._leases.claim(1)

        library.loans.clock.set_back(10)

        assert await library.another_runner()._leases.claim(1) == []


class TestLostLease:
    async def test_goes_to_another_runner_and_the_late_result_is_dropped(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.open.clear()
        late = asyncio.create_task(library.runner.run_due())
        await asyncio.wait_for(library.desk.began.wait(), LIMIT)
        library.loans.clock.advance(16)
        rows = await library.another_runner()._leases.claim(10)

        library.desk.open.set()
        await late
        after_the_late_one = await library.story(lending)
        other = library.another_runner()
        await other._execute(rows[0])

        assert after_the_late_one == "asked reserved"
        assert await library.story(lending) == "asked reserved paid lent"
        assert library.desk.charges == [f"{lending}/deposit"] * 2
        assert library.desk.money == 500
        assert "do take-deposit lost" in await library.timeline_text(lending)

    async def test_rolls_back_a_local_step(self, library: Library) -> None:
        lending = await library.asked()
        rows = await library.runner._leases.claim(1)
        library.loans.clock.advance(16)
        await library.another_runner().run_due()

        await library.runner._execute(rows[0])

        assert await library.story(lending) == "asked reserved paid lent"
        assert len(library.desk.charges) == 1


class Losing(AttemptCommits):
    """Every commit succeeds but is reported as failed."""

    async def commit(self, cohort: Sequence[Member]) -> Sequence[ClaimedSaga | None]:
        await super().commit(cohort)
        raise ConnectionResetError


class Away(AttemptCommits):
    """The database is unavailable for the first two commits."""

    tries = 0

    async def commit(self, cohort: Sequence[Member]) -> Sequence[ClaimedSaga | None]:
        self.tries += 1
        if self.tries <= 2:
            raise ConnectionRefusedError
        return await super().commit(cohort)


def _with(library: Library, kind: type[AttemptCommits]) -> AttemptCommits:
    """Make the runner commit with `kind`."""
    runner = library.runner
    commits = kind(library.loans.context, runner._progress, asyncio.Semaphore(4), library.loans.context.tracing)
    runner._cohorts._commit = commits.commit
    return commits


class TestLostCommit:
    async def test_that_succeeded_continues_at_once(self, library: Library) -> None:
        lending = await library.asked()
        _with(library, Losing)

        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved paid lent"
        assert library.desk.charges == [f"{lending}/deposit"]

    async def test_that_failed_is_repeated(self, library: Library) -> None:
        lending = await library.asked()
        _with(library, Away)

        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved paid lent"
        assert "do reserve-copy failed" not in await library.timeline_text(lending)

    async def test_does_not_delay_shutdown(self, embedded_library: Library) -> None:
        library = embedded_library
        lending = await library.asked()
        commits = _with(library, Away)
        rows = await library.runner._leases.claim(1)

        library.runner._progress.closing = True
        await library.runner._execute(rows[0])

        assert isinstance(commits, Away)
        assert commits.tries == 2  # the commit of the step, and that of its failure
        assert await library.story(lending) == "asked"


class TestKilled:
    async def test_between_the_effect_and_the_progress_charges_once(self, databases: Databases, tmp_path: Path) -> None:
        address, ledger = databases.per_service(), tmp_path / "ledger"
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.kit.sagas.killed", address, str(ledger)),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        said = [await asyncio.wait_for(child.stdout.readline(), LIMIT) for _ in range(2)]
        child.kill()
        await child.wait()
        lending, charged = LendingId(said[0].decode().strip()), said[1]

        desk = Desk()
        async with open_library(databases, desk=desk) as library:
            desk.kept = {line.split()[1]: 500 for line in ledger.read_text().splitlines()}
            await library.runner.run_due()
            before_the_lease_is_over = list(desk.calls)
            await library.after(16)
            story = await library.story(lending)

        assert charged == b"charged\n"
        assert before_the_lease_is_over == []
        assert desk.kept == {f"{lending}/deposit": 500}
        assert desk.calls == [f"charge {lending}/deposit"]
        assert story == "asked reserved paid lent"


class TestShutdown:
    async def test_the_lease_of_a_step_that_does_not_end_is_released(self, databases: Databases) -> None:
        async with open_library(databases, variables={"GRACE_PERIOD": "0"}) as library:
            lending = await library.asked()
            library.desk.open.clear()
            running = asyncio.create_task(library.runner.run())
            await asyncio.wait_for(library.desk.began.wait(), LIMIT)

            running.cancel()
            await asyncio.wait({running}, timeout=LIMIT)
            library.desk.open.set()
            await library.another_runner().run_due()

            assert await library.story(lending) == "asked reserved paid lent"
            assert library.desk.charges == [f"{lending}/deposit"] * 2
            assert library.desk.money == 500

    async def test_a_running_step_ends_and_the_next_one_is_released(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.open.clear()
        running = asyncio.create_task(library.runner.run())
        await asyncio.wait_for(library.desk.began.wait(), LIMIT)
        another = await library.asked("Another")

        library.loans.context.stop()
        await asyncio.sleep(0)
        library.desk.open.set()
        running.cancel()
        await asyncio.wait({running}, timeout=LIMIT)

        assert await library.story(lending) == "asked reserved paid"
        assert await library.story(another) == "asked"
        await library.another_runner().run_due()
        assert await library.story(lending) == "asked reserved paid lent"
        assert len(library.desk.charges) == 2


class TestWakeUp:
    async def test_a_commit_of_this_process_wakes_the_runner(self, databases: Databases) -> None:
        async with open_library(databases, background=True, variables={"SAGA_POLL": "60"}) as library:
            await library.loans.sagas_rest()

            lending = await library.asked()
            await library.loans.sagas_rest()

            assert await library.story(lending) == "asked reserved paid lent"

    async def test_sagas_of_other_processes_are_found_by_polling(self, sqlite_databases: Databases) -> None:
        async with open_library(sqlite_databases, background=True, variables={"SAGA_POLL": "0.05"}) as library:
            await library.loans.sagas_rest()
            library.loans.context.database.wakeups.clear()

            await library.asked()
            await asyncio.wait_for(library.desk.began.wait(), LIMIT)
            library.loans.context.database.wakeups["sagas"] = lambda: None

            assert library.desk.charges

    async def test_many_run_concurrently_up_to_the_limit(self, sqlite_databases: Databases) -> None:
        async with open_library(sqlite_databases, background=True, variables={"SAGA_CONCURRENCY": "2"}) as library:
            library.desk.open.clear()
            lendings = [await library.asked(f"Volume {number}") for number in range(5)]
            async with asyncio.timeout(LIMIT):
                await library.desk.several.wait()
            begun = [(await library.saga_status(lending)).attempts for lending in lendings]
            library.desk.open.set()
            await library.loans.sagas_rest()

            assert sum(begun) == 2
            assert {await library.story(lending) for lending in lendings} == {"asked reserved paid lent"}


class TestAnotherVersion:
    async def test_a_saga_at_an_unknown_step_is_released(self, library: Library) -> None:
        lending = await library.asked()
        await _have(library, step="step-of-the-next-version")

        await library.runner.run_due()
        saga_status = await library.saga_status(lending)
        await _have(library, step="reserve-copy")
        await library.after(60)

        assert saga_status.error == "This version of the code cannot read it: NoSuchStep"
        assert await library.story(lending) == "asked reserved paid lent"

    async def test_a_saga_with_an_unreadable_state_is_released(self, library: Library) -> None:
        lending = await library.asked()
        await _have(library, state='{"lending": 1}')

        await library.runner.run_due()

        assert (await library.saga_status(lending)).error == "This version of the code cannot read it: ValidationError"
        assert await library.story(lending) == "asked"

    async def test_an_unknown_saga_is_not_claimed(self, library: Library) -> None:
        lending = await library.asked()
        await _have(library, name="of-the-next-version")

        await library.runner.run_due()

        assert (await library.saga_status(lending)).attempts == 0


async def _have(library: Library, **values: str) -> None:
    async with library.loans.context.transaction() as work:
        await work.execute(update(sagas).values(values))
