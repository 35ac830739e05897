import pytest
from tests.examples.loans.desk import Fault
from tests.examples.loans.models import Book
from tests.examples.loans.saga import ask_for
from tests.kit.sagas.library import Library, open_library

from portico.kit.auth.principal import UserId
from portico.testing.databases import Databases


class TestForward:
    async def test_every_step_is_done_in_order(self, library: Library) -> None:
        lending = await library.asked()

        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved paid lent"
        assert (await library.lending(lending)).charge_id == f"charge of {lending}/deposit"
        assert (await library.saga_status(lending)).status == "done"
        assert library.desk.money == 500

    async def test_the_timeline_contains_every_step(self, library: Library) -> None:
        lending = await library.asked()

        await library.runner.run_due()

        assert await library.timeline_text(lending) == [
            "start done",
            "do reserve-copy done",
            "do take-deposit done",
            "do hand-over done",
            "end done",
        ]

    async def test_nothing_starts_before_its_commit(self, library: Library) -> None:
        with pytest.raises(RuntimeError, match="no"):
            await self._fail(library)

        await library.runner.run_due()

        assert library.desk.calls == []

    async def _fail(self, library: Library) -> None:
        book = await library.loans.given(Book(title="Persuasion"))
        async with library.loans.context.transaction() as work:
            await ask_for(work, book.book_id, reader_id=UserId.new())
            raise RuntimeError("no")


class TestPendingOutcome:
    async def test_is_requested_again_and_is_not_a_failure(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will(*["processing"] * 6)
        await library.runner.run_due()

        await library.after(1.9)
        early = len(library.desk.charges)
        await library.after(2, times=6)

        assert early == 1
        assert await library.story(lending) == "asked reserved paid lent"
        assert library.desk.charges == [f"{lending}/deposit"] * 7
        assert "do take-deposit failed" not in await library.timeline_text(lending)

    async def test_is_in_the_timeline_at_most_twenty_times(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will(*["processing"] * 30)
        await library.runner.run_due()

        await library.after(2, times=30)

        tried = [each for each in await library.timeline(lending) if each.step == "take-deposit"]
        assert [(each.attempt, each.outcome) for each in tried[:-1]] == [(number, "pending") for number in range(1, 21)]
        assert (tried[-1].attempt, tried[-1].outcome) == (31, "done")

    async def test_is_undone_at_the_deadline(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will(*["processing"] * 1000)
        await library.runner.run_due()

        library.desk.script.clear()
        await library.after(15 * 60)

        assert await library.story(lending) == "asked reserved released given_up"
        assert library.desk.calls[-1] == f"void {lending}/deposit"
        assert (await library.lending(lending)).reason == "The saga exceeded its deadline"


class TestDefiniteFailure:
    async def test_undoes_earlier_steps(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("refused")

        await library.runner.run_due()

        assert await library.story(lending) == "asked reserved released given_up"
        assert (await library.lending(lending)).reason == "The card was declined"
        assert library.desk.calls == [f"charge {lending}/deposit"]
        assert (await library.book_of(lending)).lent_until is None
        assert await library.timeline_text(lending) == [
            "start done",
            "do reserve-copy done",
            "do take-deposit refused",
            "undo reserve-copy done",
            "end undone",
        ]

    async def test_of_the_first_step_ends_the_saga(self, library: Library) -> None:
        first = await library.asked()
        await library.runner.run_due()
        async with library.loans.context.transaction() as work:
            book_id = (await library.lending(first)).book_id
            second = (await ask_for(work, book_id, reader_id=(await library.lending(first)).reader_id)).lending_id

        await library.runner.run_due()

        assert await library.story(second) == "asked given_up"
        assert library.desk.charges == [f"{first}/deposit"]


class TestUnknownOutcome:
    async def test_is_retried_with_the_same_key(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("lost", "busy")
        await library.runner.run_due()

        await library.after(0.2)
        await library.after(0.4)

        assert await library.story(lending) == "asked reserved paid lent"
        assert library.desk.charges == [f"{lending}/deposit"] * 3
        assert library.desk.money == 500
        assert (await library.timeline_text(lending))[2:5] == [
            "do take-deposit failed",
            "do take-deposit failed",
            "do take-deposit done",
        ]

    async def test_waits_longer_each_time(self, library: Library) -> None:
        await library.asked()
        library.desk.will("dropped", "dropped")
        await library.runner.run_due()
        made = []

        for seconds in (0.19, 0.01, 0.39, 0.01):
            await library.after(seconds)
            made.append(len(library.desk.charges))

        assert made == [1, 2, 2, 3]

    async def test_is_undone_by_its_key_after_the_last_attempt(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("lost", "lost", "lost")
        await library.runner.run_due()

        await library.after(1, times=2)

        assert await library.story(lending) == "asked reserved released given_up"
        assert library.desk.calls == [f"charge {lending}/deposit"] * 3 + [f"void {lending}/deposit"]
        assert library.desk.money == 0

    async def test_a_charge_that_arrives_after_its_undo_is_not_kept(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("late", "dropped", "dropped")
        await library.runner.run_due()
        await library.after(1, times=2)

        library.desk.arrive()

        assert library.desk.money == 0
        assert await library.story(lending) == "asked reserved released given_up"

    async def test_a_definite_failure_after_it_undoes_the_step_too(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will("late", "refused")
        await library.runner.run_due()
        await library.after(1)

        library.desk.arrive()

        assert library.desk.calls[-1] == f"void {lending}/deposit"
        assert library.desk.money == 0

    @pytest.mark.parametrize("then", [["refused"], ["processing", "refused"]])
    async def test_a_definite_failure_after_it_in_the_same_call_undoes_the_step_too(
        self, sqlite_databases: Databases, then: list[Fault]
    ) -> None:
        async with open_library(sqlite_databases, retries=True) as library:
            lending = await library.asked()
            library.desk.will("late", *then)
            await library.after(2, times=2)

            library.desk.arrive()

            assert library.desk.calls[-1] == f"void {lending}/deposit"
            assert library.desk.money == 0
            assert await library.story(lending) == "asked reserved released given_up"

    async def test_a_definite_failure_after_nothing_was_sent_undoes_only_earlier_steps(
        self, sqlite_databases: Databases
    ) -> None:
        async with open_library(sqlite_databases, retries=True) as library:
            lending = await library.asked()
            library.desk.will("busy", "refused")

            await library.runner.run_due()

            assert library.desk.calls == [f"charge {lending}/deposit"] * 2
            assert await library.story(lending) == "asked reserved released given_up"


class TestUndo:
    async def test_is_retried_until_it_succeeds(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will(*["lost"] * 3, *["busy", "refused", "broken"] * 4)
        await library.runner.run_due()

        await library.after(60, times=20)

        assert await library.story(lending) == "asked reserved released given_up"
        assert library.desk.calls.count(f"void {lending}/deposit") == 13
        assert library.desk.money == 0

    async def test_its_failures_are_in_the_timeline(self, library: Library) -> None:
        lending = await library.asked()
        library.desk.will(*["lost"] * 3, *["broken"] * 100)
        await library.runner.run_due()
        await library.after(60, times=50)

        saga_status, timeline_text = await library.saga_status(lending), await library.timeline_text(lending)

        assert (saga_status.status, saga_status.step, saga_status.failures) == ("undoing", "take-deposit", 49)
        assert saga_status.error == "Something went wrong"
        assert timeline_text.count("undo take-deposit failed") == 20
        assert timeline_text[-1] == "undo take-deposit waiting"
