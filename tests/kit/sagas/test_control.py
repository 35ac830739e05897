import asyncio

import pytest
from sqlalchemy import delete, update
from tests.examples.loans.ids import LendingId
from tests.examples.loans.models import Book
from tests.kit.sagas.library import LIBRARIAN, Library

from portico.kit.data.kit_tables import sagas
from portico.kit.sagas import (
    PastNoReturn,
    SagaEnded,
    SagaId,
    SagaNotFound,
    SagaOfAnotherVersion,
    StepUnderWay,
    UndoTiming,
    retry_now,
    skip,
)

LIMIT = 20.0  # seconds


class TestRequestUndo:
    async def test_before_it_begins(self, library: Library) -> None:
        lending = await library.asked()

        asked = await library.cancelled(lending)
        await library.runner.run_due()

        assert asked == UndoTiming.NOW
        assert await library.story(lending) == "asked given_up"
        assert (await library.lending(lending)).reason == "The reader thought better of it"
        assert library.desk.calls == []
        assert await library.timeline_text(lending) == ["start done", "cancel reserve-copy requested", "end undone"]

    async def test_during_a_remote_step_waits_for_its_outcome(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.open.clear()
        running = asyncio.create_task(library.runner.run_due())
        await asyncio.wait_for(library.desk.began.wait(), LIMIT)

        asked = await library.cancelled(lending)
        library.desk.open.set()
        await running

        assert asked == UndoTiming.AFTER_STEP
        assert await library.story(lending) == "asked reserved paid released given_up"
        assert library.desk.calls == [f"charge {lending}/deposit", f"void {lending}/deposit"]
        assert library.desk.money == 0

    async def test_during_a_local_step_rolls_it_back(self, library: Library) -> None:
        lending = await library.asked()
        rows = await library.runner._leases.claim(1)

        asked = await library.cancelled(lending)
        await library.runner._execute(rows[0])

        assert asked == UndoTiming.AFTER_STEP
        assert await library.story(lending) == "asked given_up"

    async def test_waits_for_an_unknown_outcome(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("processing", "processing")
        await library.runner.run_due()

        asked = await library.cancelled(lending)
        await library.runner.run_due()
        meanwhile = list(library.desk.calls)
        await library.after(2)

        assert asked == UndoTiming.AFTER_STEP
        assert meanwhile == [f"charge {lending}/deposit"] * 2
        assert await library.story(lending) == "asked reserved paid released given_up"
        assert library.desk.money == 0

    async def test_after_a_failure_undoes_at_once(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("lost")
        await library.runner.run_due()

        asked = await library.cancelled(lending)
        await library.runner.run_due()

        assert asked == UndoTiming.NOW
        assert library.desk.calls == [f"charge {lending}/deposit", f"void {lending}/deposit"]
        assert await library.story(lending) == "asked reserved released given_up"

    async def test_a_later_failure_is_not_retried(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.open.clear()
        library.desk.will("lost")
        running = asyncio.create_task(library.runner.run_due())
        await asyncio.wait_for(library.desk.began.wait(), LIMIT)

        await library.cancelled(lending)
        library.desk.open.set()
        await running

        assert library.desk.calls == [f"charge {lending}/deposit", f"void {lending}/deposit"]
        assert await library.story(lending) == "asked reserved released given_up"

    async def test_twice_has_one_effect(self, library: Library) -> None:
        lending = await library.asked()
        await library.cancelled(lending)

        assert await library.cancelled(lending) == UndoTiming.ALREADY_REQUESTED
        await library.runner.run_due()
        assert await library.story(lending) == "asked given_up"

    async def test_is_rejected_after_the_point_of_no_return(self, library: Library) -> None:
        lending = await _stuck_past_no_return(library)

        with pytest.raises(PastNoReturn, match="hand-over"):
            await library.cancelled(lending)

    async def test_is_rejected_after_the_end(self, library: Library) -> None:
        lending = await library.asked()
        await library.runner.run_due()

        with pytest.raises(SagaEnded, match="done"):
            await library.cancelled(lending)

    async def test_at_a_step_of_another_version_waits_for_that_version(self, embedded_library: Library) -> None:
        lending = await embedded_library.asked()
        async with embedded_library.loans.context.transaction() as work:
            await work.execute(update(sagas).values(step="inspect_copy"))

        with pytest.raises(SagaOfAnotherVersion, match=lending) as refused:
            await embedded_library.cancelled(lending)

        assert (refused.value.status, "retry-after" in refused.value.headers) == (503, True)
        assert (await embedded_library.saga_status(lending)).undo_reason is None

    async def test_an_unknown_saga_is_not_found(self, embedded_library: Library) -> None:
        with pytest.raises(SagaNotFound):
            await embedded_library.cancelled(LendingId.new())


class TestPastNoReturn:
    async def test_it_is_retried_until_it_succeeds(self, library: Library) -> None:
        lending = await _stuck_past_no_return(library)
        await library.after(60, times=30)

        saga_status = await library.saga_status(lending)

        assert (saga_status.status, saga_status.step, saga_status.failures) == ("running", "hand-over", 31)
        assert library.desk.money == 500

    async def test_the_deadline_does_not_apply(self, library: Library) -> None:
        lending = await _stuck_past_no_return(library)

        await library.after(3600)

        assert (await library.saga_status(lending)).status == "running"


class TestRetryNow:
    async def test_runs_at_once_and_is_recorded(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("lost")
        await library.runner.run_due()
        saga_id = (await library.saga_status(lending)).saga_id

        async with library.loans.context.transaction() as work:
            await retry_now(work, saga_id, by=LIBRARIAN, reason="The desk is back")
        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved paid lent"
        entry = next(each for each in await library.timeline(lending) if each.action == "retry")
        assert (entry.step, entry.actor, entry.error) == ("take-deposit", "user_librarian", "The desk is back")

    async def test_is_rejected_while_the_step_runs(self, library: Library) -> None:
        lending = await library.asked()
        await library.runner._leases.claim(1)

        with pytest.raises(StepUnderWay, match="reserve-copy"):
            await _skip(library, lending)

    async def test_is_rejected_after_the_end(self, library: Library) -> None:
        lending = await library.asked()
        await library.runner.run_due()

        with pytest.raises(SagaEnded):
            await _skip(library, lending)

    async def test_an_unknown_saga_cannot_be_retried(self, embedded_library: Library) -> None:
        async with embedded_library.loans.context.unit_of_work() as work:
            with pytest.raises(SagaNotFound):
                await retry_now(work, SagaId.new(), by=LIBRARIAN)


class TestSkip:
    async def test_skips_a_forward_step_and_is_recorded(self, library: Library) -> None:
        lending = await _stuck_past_no_return(library)

        await _skip(library, lending)
        await library.runner.run_due()

        assert (await library.saga_status(lending)).status == "done"
        entry = next(each for each in await library.timeline(lending) if each.action == "skip")
        assert (entry.step, entry.actor, entry.error) == ("hand-over", "user_librarian", "Done by hand")

    async def test_a_skipped_step_is_recorded_by_its_record_function(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("busy")
        await library.runner.run_due()

        await _skip(library, lending)
        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved paid lent"

    async def test_a_step_that_may_have_happened_is_undone_before_it_is_skipped(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("late")
        await library.runner.run_due()

        await _skip(library, lending)
        await library.runner.run_due()
        library.desk.arrive()

        assert library.desk.calls == [f"charge {lending}/deposit", f"void {lending}/deposit"]
        assert library.desk.money == 0
        assert await library.story(lending) == "asked reserved paid lent"
        assert (await library.timeline_text(lending))[2:6] == [
            "do take-deposit failed",
            "skip take-deposit requested",
            "undo take-deposit done",
            "do hand-over done",
        ]

    async def test_that_undo_is_retried_until_it_succeeds(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("late", *["broken", "refused", "lost", "busy"] * 2)
        await library.runner.run_due()

        await _skip(library, lending)
        await library.after(60, times=7)
        waiting = await library.saga_status(lending)
        await library.after(60, times=2)

        assert (waiting.status, waiting.step, waiting.failures) == ("running", "take-deposit", 8)
        assert await library.story(lending) == "asked reserved paid lent"
        assert library.desk.calls == [f"charge {lending}/deposit"] + [f"void {lending}/deposit"] * 9
        assert library.desk.money == 0

    async def test_that_undo_ends_at_the_deadline(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("late", *["broken"] * 20)
        await library.runner.run_due()

        await _skip(library, lending)
        await library.after(60, times=25)

        assert await library.story(lending) == "asked reserved released given_up"
        assert library.desk.calls[-1] == f"void {lending}/deposit"

    async def test_a_step_that_was_not_started_is_skipped_at_once(self, library: Library) -> None:
        lending = await library.asked()
        library.runner._progress.closing = True
        await library.runner._execute((await library.runner._leases.claim(1))[0])
        library.runner._progress.closing = False

        await _skip(library, lending)
        await library.runner.run_due()

        assert library.desk.calls == []
        assert await library.story(lending) == "asked reserved paid lent"

    async def test_cancelling_meanwhile_undoes_everything(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("late", "broken")
        await library.runner.run_due()
        await _skip(library, lending)
        await library.runner.run_due()

        await library.cancelled(lending)
        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved released given_up"
        assert library.desk.calls[-1] == f"void {lending}/deposit"

    async def test_a_skipped_step_that_may_have_happened_is_undone_later(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("lost")
        await library.runner.run_due()
        await _skip(library, lending)
        await library.cancelled(lending)

        await library.runner.run_due()

        assert library.desk.calls[-1] == f"void {lending}/deposit"
        assert library.desk.money == 0
        assert await library.story(lending) == "asked reserved released given_up"

    async def test_skips_a_failing_compensation(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will(*["lost"] * 3, *["broken"] * 10)
        await library.runner.run_due()
        await library.after(60, times=3)

        await _skip(library, lending)
        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved released given_up"
        assert library.desk.money == 500  # an operator has done it

    async def test_applies_to_one_step_only(self, library: Library) -> None:
        lending = await library.asked()
        await _skip(library, lending)

        await library.runner.run_due()

        assert await library.story(lending) == "asked paid lent"


async def _stuck_past_no_return(library: Library) -> LendingId:
    """Start a saga that is stuck after the point of no return: the deposit is paid, but the book was deleted."""
    lending = await library.asked()
    library.desk.open.clear()
    running = asyncio.create_task(library.runner.run_due())
    await asyncio.wait_for(library.desk.began.wait(), LIMIT)
    async with library.loans.context.transaction() as work:
        await work.execute(delete(Book))
    library.desk.open.set()
    await running
    return lending


async def _skip(library: Library, lending: LendingId) -> None:
    saga_id = (await library.saga_status(lending)).saga_id
    async with library.loans.context.transaction() as work:
        await skip(work, saga_id, by=LIBRARIAN, reason="Done by hand")
