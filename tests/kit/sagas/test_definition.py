from typing import Any

import pytest

from portico.kit.calls.client import Calls
from portico.kit.data import UnitOfWork
from portico.kit.sagas import FOREVER, Saga, SagaState, Step, UndoReason, minutes
from portico.kit.sagas.definition import NoSuchStep


class Trip(SagaState):
    days: int
    ticket: str | None = None


class Other(SagaState):
    name: str


async def pack(trip: Trip, work: UnitOfWork) -> None: ...
async def unpack(trip: Trip, work: UnitOfWork) -> None: ...
async def buy_ticket(trip: Trip, calls: Calls) -> Trip: ...
async def return_ticket(trip: Trip, calls: Calls) -> Trip | None: ...
async def note_ticket(trip: Trip, work: UnitOfWork) -> None: ...
async def leave(trip: Trip, work: UnitOfWork) -> None: ...
async def tell_why(trip: Trip, work: UnitOfWork, why: UndoReason) -> None: ...


async def both(trip: Trip, work: UnitOfWork, calls: Calls) -> None: ...
async def neither(trip: Trip) -> None: ...
async def of_another(trip: Other, work: UnitOfWork) -> None: ...
async def unannotated(trip, work) -> None: ...  # noqa: ANN001  # the case under test
async def answering_a_number(trip: Trip, work: UnitOfWork) -> int: ...
async def answering_anything(trip: Trip, work: UnitOfWork): ...  # noqa: ANN201  # the case under test
def at_once(trip: Trip, work: UnitOfWork) -> None: ...


class TestSaga:
    def test_reads_as_a_list_of_steps(self) -> None:
        travel = Saga(
            "travel",
            Trip,
            Step("pack", pack, undo=unpack),
            Step("buy-ticket", buy_ticket, record=note_ticket, undo=return_ticket),
            Step("leave", leave, retry=FOREVER),
            when_undone=tell_why,
        )

        assert [step.name for step in travel.steps] == ["pack", "buy-ticket", "leave"]
        assert [travel.is_remote(step.name) for step in travel.steps] == [False, True, False]
        assert (travel.is_remote("pack", "undo"), travel.is_remote("buy-ticket", "undo")) == (False, True)
        assert travel.after("pack") is travel.steps[1]
        assert travel.after("leave") is None

    @pytest.mark.parametrize(
        "function", [both, neither, of_another, unannotated, answering_a_number, answering_anything, at_once]
    )
    def test_a_step_takes_its_state_then_a_unit_of_work_or_calls(self, function: Any) -> None:
        with pytest.raises(TypeError, match=function.__name__):
            Saga("travel", Trip, Step("act", function))
        with pytest.raises(TypeError, match=function.__name__):
            Saga("travel", Trip, Step("pack", pack, undo=function))

    @pytest.mark.parametrize("function", [buy_ticket, both, neither, of_another, answering_a_number])
    def test_a_record_function_is_local_and_returns_nothing(self, function: Any) -> None:
        with pytest.raises(TypeError, match=function.__name__):
            Saga("travel", Trip, Step("buy-ticket", buy_ticket, record=function))
        with pytest.raises(TypeError, match=function.__name__):
            Saga("travel", Trip, Step("pack", pack), when_done=function)
        with pytest.raises(TypeError, match=function.__name__):
            Saga("travel", Trip, Step("pack", pack), when_undone=function)

    def test_a_local_step_has_no_record_function(self) -> None:
        with pytest.raises(TypeError, match="in the same commit"):
            Saga("travel", Trip, Step("pack", pack, record=note_ticket))

    @pytest.mark.parametrize(
        "steps",
        [
            [],
            [Step("pack", pack), Step("pack", pack)],
            [Step("leave", leave, retry=FOREVER), Step("buy-ticket", buy_ticket)],
            [Step("leave", leave, retry=FOREVER, undo=unpack)],
            [Step("leave", leave, retry=FOREVER, deadline=minutes(1))],
            [Step("leave", leave, within=minutes(0))],
            [Step("leave", leave, retry=-1)],
        ],
    )
    def test_invalid_lists_of_steps_are_rejected(self, steps: list[Any]) -> None:
        with pytest.raises(ValueError, match=r"(?i)saga 'travel'|step 'leave'"):
            Saga("travel", Trip, *steps)

    @pytest.mark.parametrize("name", ["", "Pack", "pack_bags", "pack bags", "pack,unpack", "-pack", "x" * 65])
    def test_stored_names_are_kebab_case(self, name: str) -> None:
        with pytest.raises(ValueError, match="kebab-case"):
            Saga("travel", Trip, Step(name, pack))
        with pytest.raises(ValueError, match="kebab-case"):
            Saga(name, Trip, Step("pack", pack))

    def test_a_step_of_another_version_is_unknown(self) -> None:
        travel = Saga("travel", Trip, Step("pack", pack))

        with pytest.raises(NoSuchStep, match="swim"):
            travel.step("swim")


class TestSagaState:
    def test_a_change_returns_a_new_state(self) -> None:
        trip = Trip(days=3)

        assert trip.with_(ticket="A1") == Trip(days=3, ticket="A1")
        assert trip == Trip(days=3)

    def test_rejects_unknown_fields(self) -> None:
        with pytest.raises(TypeError, match="hotel"):
            Trip(days=3).with_(hotel="x")

    def test_a_change_is_validated(self) -> None:
        with pytest.raises(ValueError, match="days"):
            Trip(days=3).with_(days="many")

    def test_its_size_is_limited(self) -> None:
        with pytest.raises(ValueError, match="are allowed"):
            Trip(days=3, ticket="x" * 70_000).to_json()
