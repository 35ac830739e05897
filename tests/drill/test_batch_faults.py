"""Faults inside requests with several calls and inside cohorts of sagas."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from portico.drill.faults import ALL_FAULTS, FaultPlan
from portico.drill.faults.calls import FaultyChannel
from portico.drill.faults.injection import FaultyCohorts
from portico.drill.faults.plan import Fault, Kind, Site
from portico.drill.faults.processes import ProcessFaults
from portico.drill.report import Report
from portico.kit.calls.channel import CallFailed, ConnectionLost, Incoming, Outgoing

ITEMS = ("a", "b", "c")


class ScriptedPlan(FaultPlan):
    """A plan whose faults a test names, by place and the number of the visit."""

    def __init__(self, faults: dict[tuple[Site, int], Fault]) -> None:
        super().__init__(1)
        self._faults = faults
        self._count: dict[Site, int] = {}

    def next(self, service: str, site: Site) -> Fault | None:
        number = self._count[site] = self._count.get(site, 0) + 1
        return self._faults.get((site, number))


class Service:
    """The calling service, and the batch endpoint that it calls."""

    name = "orders"

    def __init__(self) -> None:
        self.has_crashed = False
        self.handled: list[str] = []

    def crash(self) -> None:
        self.has_crashed = True

    async def send(self, out: Outgoing) -> Incoming:
        items = orjson.loads(out.body)
        self.handled += [item["key"] for item in items]
        return Incoming(200, [], orjson.dumps([{"status": 201, "headers": {}, "body": item["key"]} for item in items]))


async def send_batch(faults: dict[tuple[Site, int], Fault]) -> tuple[Service, list[Any]]:
    service = Service()
    body = orjson.dumps([{"method": "POST", "path": "/loans", "key": key, "body": None} for key in ITEMS])
    out = Outgoing("loans", "POST", "/loans/batch", body=body, repeatable=True, is_batch=True)
    answer = await FaultyChannel(service, service, ScriptedPlan(faults)).send(out)
    return service, [(each["status"], each["body"]) for each in orjson.loads(answer.body)]


def fault(kind: Kind, *, before: bool = True) -> Fault:
    return Fault(kind, before=before, seconds=0.0)


class TestAnItem:
    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize(("kind", "status"), [("drop", 503), ("timeout", None)])
    async def test_is_lost_while_the_others_pass(self, kind: Kind, status: int | None, *, before: bool) -> None:
        service, answers = await send_batch({("item", 2): fault(kind, before=before)})

        assert service.handled == (["a", "c"] if before else ["a", "b", "c"])
        assert [status for status, _ in answers] == [201, status, 201]
        assert (answers[0][1], answers[2][1]) == ("a", "c")

    async def test_is_handled_twice_and_answered_once(self) -> None:
        service, answers = await send_batch({("item", 1): fault("duplicate")})

        assert service.handled == ["a", "b", "c", "a"]
        assert [body for _, body in answers] == ["a", "b", "c"]

    async def test_nothing_is_sent_if_all_are_lost(self) -> None:
        service, answers = await send_batch({("item", number): fault("timeout") for number in (1, 2, 3)})

        assert service.handled == []
        assert [status for status, _ in answers] == [None] * 3


class TestABatch:
    async def test_reaches_the_service_and_its_response_is_lost(self) -> None:
        service = Service()
        out = Outgoing("loans", "POST", "/loans/batch", body=b'[{"key":"a"}]', repeatable=True, is_batch=True)
        plan = ScriptedPlan({("batch", 1): fault("drop", before=False)})

        with pytest.raises(ConnectionLost):
            await FaultyChannel(service, service, plan).send(out)

        assert service.handled == ["a"]


class Runner:
    """A saga runner, as far as the injection needs it."""

    def __init__(self) -> None:
        self.commit_cohort = self.commit
        self.committed: list[int] = []
        self.service = Service()

    async def commit(self, cohort: Sequence[Any]) -> Sequence[Any]:
        if self.service.has_crashed:
            raise ConnectionError
        self.committed.append(len(cohort))
        return cohort


class TestACohort:
    async def test_is_not_committed_if_its_process_crashes_before(self) -> None:
        runner = Runner()
        FaultyCohorts(runner, runner.service, ScriptedPlan({("cohort", 1): fault("crash")}))  # type: ignore[arg-type]

        with pytest.raises(ConnectionError):
            await runner.commit_cohort([1, 2])

        assert runner.committed == []

    async def test_is_committed_if_its_process_crashes_afterwards(self) -> None:
        runner = Runner()
        plan = ScriptedPlan({("cohort", 2): fault("crash", before=False)})
        FaultyCohorts(runner, runner.service, plan)  # type: ignore[arg-type]

        await runner.commit_cohort([1])  # a saga alone is no cohort
        await runner.commit_cohort([1, 2])
        assert not runner.service.has_crashed
        await runner.commit_cohort([1, 2, 3])

        assert runner.service.has_crashed
        assert runner.committed == [1, 2, 3]


async def start_and_call(variables: Mapping[str, str]) -> None:
    """Inject faults as a process does that starts, and call another service many times."""
    context: Any = SimpleNamespace(name="orders", channel=Service(), service=SimpleNamespace(sagas=()))
    faults = ProcessFaults.of(variables)
    assert faults is not None
    faults.inject([context])
    for _ in range(200):
        out = Outgoing("loans", "POST", "/loans/batch", body=b'[{"key":"a"}]', repeatable=True, is_batch=True)
        with suppress(CallFailed):
            await context.channel.send(out)


class TestProcesses:
    def test_what_a_killed_process_has_injected_is_counted(self, tmp_path: Path) -> None:
        faults = ProcessFaults(str(tmp_path), 1, ("crash", "drop"), rate=0.3)
        process = get_context("fork").Process(target=lambda: asyncio.run(start_and_call(faults.variables)))
        with faults.occurring(report := Report(1)):
            process.start()
            process.join()

        assert process.exitcode == -signal.SIGKILL
        assert report.crashes == report.injected["batch: crash"] == 1
        assert report.injected["item: drop"] > 0
        assert report.points > report.injected.total()

    async def test_each_start_has_other_faults_until_they_end(self, tmp_path: Path) -> None:
        faults = ProcessFaults(str(tmp_path), 1, ("drop",), rate=0.3)
        with faults.occurring(Report(1)):
            await start_and_call(faults.variables)
            await start_and_call(faults.variables)
        await start_and_call(faults.variables)

        first, second, third = ((tmp_path / f"orders-{number}.faults").read_text() for number in (1, 2, 3))
        assert "item drop" in first
        assert first != second
        assert third == ""

    def test_a_process_without_the_variable_has_no_faults(self) -> None:
        assert ProcessFaults.of({"PATH": "/bin"}) is None


def test_each_kind_of_place_has_its_faults() -> None:
    found: set[tuple[Site, Kind]] = set()
    for seed in range(40):
        plan = FaultPlan(seed, ALL_FAULTS, rate=0.5)
        for site in ("cohort", "batch", "item"):
            if (each := plan.next("orders", site)) is not None:
                found.add((site, each.kind))

    assert found == {
        *(("cohort", kind) for kind in ("crash", "slow")),
        *(("batch", kind) for kind in ("crash", "drop", "duplicate", "timeout", "slow")),
        *(("item", kind) for kind in ("drop", "duplicate", "timeout")),
    }
