"""Observability of sagas: traces, metrics, health, log and retention."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select, update
from structlog.testing import capture_logs
from tests.examples.loans.desk import Desk
from tests.kit.sagas.library import Library, open_library

from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.sagas.metrics import ClaimingFailed, SagasStuck
from portico.kit.sagas.retention import delete_ended_sagas
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span, Tracing
from portico.testing.databases import Databases

REQUEST = TraceContext("a" * 32, "b" * 16, sampled=True)


class Recorded(Span):
    def __init__(self, number: int, name: str, parent: TraceContext, attributes: dict[str, Any]) -> None:
        super().__init__(TraceContext(parent.trace_id, f"{number:016x}", sampled=True))
        self.name = name
        self.parent = parent
        self.attributes = attributes
        self.error: str | None = "not ended"

    def end(self, *, route: str | None = None, status: int | None = None, error: str | None = None) -> None:
        self.error = error


class Recorder:
    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def start(
        self,
        kind: str,
        name: str,
        parent: TraceContext | None,
        attributes: dict[str, Any],
        links: Sequence[TraceContext] = (),
    ) -> Recorded:
        assert parent is not None
        span = Recorded(len(self.spans) + 1, name, parent, attributes)
        self.spans.append(span)
        return span

    async def aclose(self) -> None:
        """Do nothing."""

    def named(self, name: str) -> Recorded:
        return next(span for span in self.spans if span.name == name)


class TestTraces:
    async def test_all_steps_and_calls_are_in_the_trace_of_the_start(self, library: Library) -> None:
        recorder = Recorder()
        library.loans.context.tracing = Tracing(recorder)
        library.runner = library.another_runner()
        token = request_context.set(RequestContext("loans", "req-1", REQUEST))
        lending = await library.asked()
        request_context.reset(token)
        library.desk.will("lost")

        await library.runner.run_due()
        await library.after(1)

        assert [span.name for span in recorder.spans] == [
            "lend-for-deposit do reserve-copy",
            "lend-for-deposit do take-deposit",
            "POST desk",
            "lend-for-deposit do take-deposit",
            "POST desk",
            "lend-for-deposit do hand-over",
        ]
        steps = [span for span in recorder.spans if span.name.startswith("lend")]
        assert {span.parent for span in steps} == {REQUEST}
        assert [span.error for span in steps] == [None, "ConnectionLost", None, None]
        assert recorder.spans[2].parent == steps[1].context
        assert library.desk.traces == [str(recorder.spans[2].context), str(recorder.spans[4].context)]
        assert steps[0].attributes["saga.id"] == (await library.saga_status(lending)).saga_id

    async def test_a_saga_started_without_a_request_has_its_own_trace(self, library: Library) -> None:
        await library.asked()

        await library.runner.run_due()

        assert TraceContext.parse(library.desk.traces[0]) is not None


class TestMetrics:
    async def test_count_open_and_failing_sagas(self, library: Library) -> None:
        library.runner.metrics.register(library.loans.context.health)
        first = await library.asked()
        await library.runner.run_due()
        await library.asked("Another")
        library.desk.will("broken")
        await library.runner.run_due()
        library.loans.clock.advance(0.1)

        await library.runner.metrics.refresh()
        timeline_text = library.loans.context.metrics.render().decode().splitlines()

        assert (await library.saga_status(first)).status == "done"
        assert 'portico_sagas_open{saga="lend-for-deposit"} 1.0' in timeline_text
        assert 'portico_sagas_failing{saga="lend-for-deposit"} 1.0' in timeline_text
        assert 'portico_sagas_oldest_seconds{saga="lend-for-deposit"} 0.1' in timeline_text
        assert 'portico_saga_steps_total{outcome="done"} 4.0' in timeline_text
        assert 'portico_saga_steps_total{outcome="failed"} 1.0' in timeline_text
        assert 'portico_sagas_ended_total{status="done"} 1.0' in timeline_text
        assert "portico_sagas_running 0.0" in timeline_text


class TestHealth:
    async def test_is_up_if_no_saga_is_stuck(self, embedded_library: Library) -> None:
        await embedded_library.asked()
        await embedded_library.runner.run_due()
        await embedded_library.runner.metrics.refresh()

        await embedded_library.runner.metrics.check()

    async def test_reports_sagas_that_fail_repeatedly(self, library: Library) -> None:
        await library.asked()
        library.desk.will(*["lost"] * 3, *["broken"] * 10)
        await library.runner.run_due()
        await library.after(60, times=8)
        await library.runner.metrics.refresh()

        with pytest.raises(SagasStuck, match="1"):
            await library.runner.metrics.check()

    async def test_reports_an_unavailable_database(self, embedded_library: Library) -> None:
        runner = embedded_library.runner
        runner.metrics.claim_error = "OperationalError"

        with pytest.raises(ClaimingFailed, match="OperationalError"):
            await runner.metrics.check()


class Careless(Desk):
    """A desk whose client has a bug."""

    async def send(self, out: Outgoing) -> Incoming:
        raise ValueError("no such drawer")


class TestLog:
    async def test_contains_errors_that_the_timeline_does_not(self, embedded_library: Library) -> None:
        lending = await embedded_library.asked()
        embedded_library.desk.will("lost")

        with capture_logs() as timeline_text:
            await embedded_library.runner.run_due()

        (failed,) = [each for each in timeline_text if each["event"] == "saga_step_failed"]
        assert failed["error"] == "desk: the answer was lost"
        assert [each.error for each in await embedded_library.timeline(lending) if each.outcome == "failed"] == [
            "The service 'desk' returned no usable response. Whether it did what was requested is unknown."
        ]

    async def test_contains_the_traceback_of_an_unexpected_error_once(self, sqlite_databases: Databases) -> None:
        async with open_library(sqlite_databases, desk=Careless()) as library:
            await library.asked()

            with capture_logs() as lines:
                await library.runner.run_due()
                await library.after(60, times=2)

        failed = [line for line in lines if line["event"] == "saga_step_failed"]
        first, *others, undo = failed
        assert (first["log_level"], str(first["exc_info"])) == ("error", "no such drawer")
        assert [(line["log_level"], line["error"], "exc_info" in line) for line in others] == [
            ("warning", "ValueError: no such drawer", False)
        ] * 2
        assert (undo["action"], str(undo["exc_info"])) == ("undo", "no such drawer")


class TestUnknownSagas:
    async def test_are_logged_once(self, embedded_library: Library) -> None:
        await embedded_library.asked()
        measures = embedded_library.runner.metrics
        async with embedded_library.loans.context.transaction() as work:
            await work.execute(update(sagas).values(name="another"))

        with capture_logs() as timeline_text:
            for _ in range(2):
                measures._refreshed_at = float("-inf")
                await measures.refresh()

        assert [(each["event"], each["sagas"]) for each in timeline_text] == [("sagas_unknown", ["another"])]


class TestRetention:
    async def test_deletes_sagas_by_the_time_since_their_end(self, library: Library) -> None:
        old = await library.asked()
        await library.runner.run_due()
        library.loans.clock.advance(90 * 86_400)
        young = await library.asked("Young")
        await library.runner.run_due()
        library.loans.clock.advance(1)

        await delete_ended_sagas(library.loans.context)

        assert await library.timeline(old) == []
        assert await library.story(old) == "asked reserved paid lent"
        assert len(await library.timeline(young)) == 5
        assert await _rows(library) == (1, 3)

    async def test_keeps_sagas_that_have_not_ended(self, library: Library) -> None:
        await library.asked()
        library.loans.clock.advance(900 * 86_400)

        await delete_ended_sagas(library.loans.context)

        assert await _rows(library) == (1, 0)


async def _rows(library: Library) -> tuple[int, ...]:
    async with library.loans.context.reader() as reader:
        found = [await reader.one(select(func.count()).select_from(table)) or 0 for table in (sagas, saga_steps)]
    return tuple(found)
