"""Cohorts: attempts of many sagas in one transaction, and what happens to one of them does not concern the others."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import select, update
from tests.examples.loans import saga
from tests.examples.loans.ids import LendingId
from tests.examples.loans.saga import LendingState, ask_for
from tests.kit.sagas.library import Library, open_library
from tests.kit.telemetry.recording import Recording as RecordedSpans
from tests.kit.telemetry.recording import linked, span_id

from portico.kit.auth.principal import UserId
from portico.kit.data.kit_tables import sagas
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.sagas import UndoReason, commits
from portico.kit.sagas.commits import AttemptCommits, Member
from portico.kit.sagas.leases import ClaimedSaga
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Tracing
from portico.testing.databases import Databases

LENT = "asked reserved paid lent"
LIMIT = 20.0  # seconds


class Recording(AttemptCommits):
    """Records the size of each cohort, and fails every transaction that contains the saga of `poisoned`."""

    def __init__(self, library: Library) -> None:
        super().__init__(library.loans.context, library.runner._progress, asyncio.Semaphore(4), Tracing.off())
        self.sizes: list[int] = []
        self.first_steps: list[int] = []
        self.poisoned: LendingId | None = None
        library.runner._cohorts._commit = self.commit

    async def commit(self, cohort: Sequence[Member]) -> Sequence[ClaimedSaga | None]:
        self.sizes.append(len(cohort))
        if cohort[0].attempt.claimed.position.step == "reserve-copy":
            self.first_steps.append(len(cohort))
        if self.poisoned in {member.attempt.claimed.subject for member in cohort}:
            raise RuntimeError("this statement fails")
        return await super().commit(cohort)


@pytest.fixture
async def small(databases: Databases) -> AsyncIterator[Library]:
    """Run a library with cohorts of at most three sagas."""
    async with open_library(databases, variables={"SAGA_BATCH": "3"}) as library:
        yield library


async def asked(library: Library, count: int) -> list[LendingId]:
    return [await library.asked(f"Volume {number}") for number in range(count)]


async def stories(library: Library, lendings: Sequence[LendingId]) -> list[str]:
    return [await library.story(each) for each in lendings]


class TestCohort:
    async def test_sagas_that_go_on_at_the_same_moment_share_their_transactions(self, library: Library) -> None:
        lendings, recorded = await asked(library, 12), Recording(library)

        await library.runner.run_due()

        assert await stories(library, lendings) == [LENT] * 12
        assert recorded.sizes == [12, 12, 12]
        assert library.desk.money == 12 * 500

    async def test_each_saga_has_its_own_timeline_and_trace(self, library: Library) -> None:
        traces = [TraceContext.new() for _ in range(3)]
        lendings = []
        for number, trace in enumerate(traces):
            token = request_context.set(RequestContext("loans", f"req-{number}", trace))
            lendings.append(await library.asked(f"Volume {number}"))
            request_context.reset(token)
        seen: list[RequestContext | None] = []
        library.runner._cohorts._commit = Contexts(library, seen).commit

        await library.runner.run_due()

        expected = ["start done", "do reserve-copy done", "do take-deposit done", "do hand-over done", "end done"]
        assert [await library.timeline_text(each) for each in lendings] == [expected] * 3
        assert {(each.request_id, each.trace and each.trace.trace_id) for each in seen if each} == {
            (f"req-{number}", trace.trace_id) for number, trace in enumerate(traces)
        }

    async def test_its_span_is_linked_to_the_step_of_each_saga(self, library: Library) -> None:
        traced = RecordedSpans()
        library.loans.context.tracing = traced.tracing
        library.runner = library.another_runner()
        token = request_context.set(RequestContext("loans", "req-1", TraceContext("a" * 32, "b" * 16, sampled=True)))
        await asked(library, 3)
        request_context.reset(token)

        await library.runner.run_due()

        spans = await traced.spans()
        steps = {span_id(each) for each in spans if each.name == "lend-for-deposit do reserve-copy"}
        [commit] = [each for each in spans if each.name == "lend-for-deposit commit reserve-copy"]
        assert len(steps) == 3
        assert linked(commit) == steps
        assert (commit.parent, (commit.attributes or {})["saga.cohort"]) == (None, 3)

    async def test_has_at_most_saga_batch_members(self, small: Library) -> None:
        lendings, recorded = await asked(small, 7), Recording(small)

        await small.runner.run_due()

        assert await stories(small, lendings) == [LENT] * 7
        assert max(recorded.sizes) == 3
        assert len(recorded.sizes) == 9

    async def test_a_saga_alone_is_committed_at_once(self, library: Library) -> None:
        lending, recorded = await library.asked(), Recording(library)

        await library.runner.run_due()

        assert (await library.story(lending), recorded.sizes) == (LENT, [1, 1, 1])

    async def test_of_compensations_is_one_transaction_too(self, library: Library) -> None:
        lendings, recorded = await asked(library, 5), Recording(library)
        library.desk.will(*["refused"] * 5)

        await library.runner.run_due()

        assert await stories(library, lendings) == ["asked reserved released given_up"] * 5
        assert recorded.sizes == [5, 5, 5]

    async def test_different_outcomes_are_different_cohorts(self, library: Library) -> None:
        lendings, recorded = await asked(library, 4), Recording(library)
        library.desk.will("refused", "none", "refused", "none")

        await library.runner.run_due()

        given_up = "asked reserved released given_up"
        assert await stories(library, lendings) == [given_up, LENT, given_up, LENT]
        assert recorded.sizes[:3] == [4, 2, 2]


class TestFailingMember:
    async def test_a_local_step_that_fails_concerns_its_saga_only(self, library: Library) -> None:
        lendings = await asked(library, 6)
        async with library.loans.context.transaction() as work:
            book_id = (await library.lending(lendings[2])).book_id
            twice = (await ask_for(work, book_id, reader_id=UserId.new())).lending_id

        await library.runner.run_due()

        assert await stories(library, [*lendings[:2], *lendings[3:]]) == [LENT] * 5
        assert sorted(await stories(library, [lendings[2], twice])) == ["asked given_up", LENT]
        assert library.desk.money == 6 * 500

    async def test_a_statement_that_fails_divides_the_cohort_until_its_saga_is_alone(self, library: Library) -> None:
        lendings, recorded = await asked(library, 8), Recording(library)
        recorded.poisoned = lendings[5]

        await library.runner.run_due()

        assert await stories(library, [each for each in lendings if each != lendings[5]]) == [LENT] * 7
        assert await library.story(lendings[5]) == "asked"
        assert recorded.first_steps == [8, 4, 4, 2, 1, 1, 2, 1]  # the last one would write the failure

    async def test_a_finalizer_that_fails_concerns_its_saga_only(
        self, library: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lendings = await asked(library, 4)
        library.desk.will(*["refused"] * 4)
        give_up = saga.lend_for_deposit.when_undone
        assert give_up is not None

        async def fails_once(state: LendingState, work: UnitOfWork, why: UndoReason) -> None:
            if state.lending_id == lendings[1]:
                raise RuntimeError("the finalizer fails")
            await give_up(state, work, why)  # type: ignore[call-arg, arg-type]  # it takes the reason too

        monkeypatch.setattr(saga.lend_for_deposit, "when_undone", fails_once)
        await library.runner.run_due()

        given_up = "asked reserved released given_up"
        assert await stories(library, lendings) == [given_up, "asked reserved", given_up, given_up]
        monkeypatch.setattr(saga.lend_for_deposit, "when_undone", give_up)
        await library.after(60)
        assert await stories(library, lendings) == [given_up] * 4

    async def test_a_slow_local_step_delays_no_other_saga(
        self, server_databases: Databases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commits, "_SLOW", 0.05)
        steps = saga.lend_for_deposit.steps
        is_open, others_done = asyncio.Event(), asyncio.Event()

        async with open_library(server_databases) as library:
            lendings = await asked(library, 4)
            done: list[LendingId] = []

            async def slow(state: LendingState, work: UnitOfWork) -> None:
                if state.lending_id == lendings[0]:
                    await is_open.wait()
                await saga.reserve_copy(state, work)

            async def counted(state: LendingState, work: UnitOfWork) -> None:
                await saga.hand_over(state, work)
                done.append(state.lending_id)
                if set(done) >= set(lendings[1:]):
                    others_done.set()

            monkeypatch.setitem(vars(steps[0]), "do", slow)
            monkeypatch.setitem(vars(steps[2]), "do", counted)
            running = asyncio.create_task(library.runner.run_due())
            await asyncio.wait_for(others_done.wait(), LIMIT)
            before = await library.story(lendings[0])
            is_open.set()
            await running

            assert before == "asked"
            assert await stories(library, lendings) == [LENT] * 4


class TestConflicts:
    async def test_a_lost_lease_concerns_its_saga_only(self, library: Library) -> None:
        lendings = await asked(library, 5)
        rows = await library.runner._leases.claim(5)
        async with library.loans.context.transaction() as work:
            lost = sagas.c.subject == lendings[3]
            await work.execute(update(sagas).where(lost).values(fence=sagas.c.fence + 1))

        await asyncio.gather(*map(library.runner._execute, rows))

        assert await stories(library, lendings) == [LENT, LENT, LENT, "asked", LENT]

    async def test_an_undo_that_was_requested_meanwhile_concerns_its_saga_only(self, library: Library) -> None:
        lendings = await asked(library, 5)
        library.desk.open.clear()
        running = asyncio.create_task(library.runner.run_due())
        await asyncio.wait_for(library.desk.several.wait(), LIMIT)

        await library.cancelled(lendings[2])
        library.desk.open.set()
        await running

        undone = await library.story(lendings[2])
        assert undone in {"asked reserved paid released given_up", "asked reserved released given_up"}
        assert await stories(library, [each for each in lendings if each != lendings[2]]) == [LENT] * 4
        assert library.desk.money == 4 * 500

    async def test_a_lost_acknowledgement_concerns_the_whole_cohort_and_nothing_is_repeated(
        self, library: Library
    ) -> None:
        lendings = await asked(library, 4)
        library.runner._cohorts._commit = Unacknowledged(library).commit

        await library.runner.run_due()

        assert await stories(library, lendings) == [LENT] * 4
        assert sorted(library.desk.charges) == sorted(f"{each}/deposit" for each in lendings)


class TestClaim:
    async def test_the_saga_that_is_due_longest_is_claimed_first(self, library: Library) -> None:
        lendings = []
        for number in range(4):
            lendings.append(await library.asked(f"Volume {number}"))
            library.loans.clock.advance(1)

        rows = await library.runner._leases.claim(2)

        async with library.loans.context.reader() as reader:
            claimed = await reader.rows(select(sagas.c.subject).where(sagas.c.owner.is_not(None)))
        assert [row.subject for row in rows] == lendings[:2]
        assert {row.subject for row in claimed} == set(lendings[:2])


class Contexts(AttemptCommits):
    """Records the context in which each local part runs."""

    def __init__(self, library: Library, seen: list[RequestContext | None]) -> None:
        super().__init__(library.loans.context, library.runner._progress, asyncio.Semaphore(4), Tracing.off())
        self._seen = seen

    async def _run_local_part(self, *arguments: object, **options: object) -> LendingState:
        self._seen.append(request_context.get())
        return await super()._run_local_part(*arguments, **options)  # type: ignore[arg-type, return-value]


class Unacknowledged(AttemptCommits):
    """Every commit succeeds but is reported as failed."""

    def __init__(self, library: Library) -> None:
        super().__init__(library.loans.context, library.runner._progress, asyncio.Semaphore(4), Tracing.off())

    async def commit(self, cohort: Sequence[Member]) -> Sequence[ClaimedSaga | None]:
        await super().commit(cohort)
        raise ConnectionResetError
