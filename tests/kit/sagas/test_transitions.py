"""Every sequence of outcomes, without a database: a simulated world and the transitions of a saga."""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from portico.kit.calls.client import Calls
from portico.kit.data import UnitOfWork
from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas import FOREVER, Saga, SagaState, Step, UndoReason
from portico.kit.sagas.outcomes import DONE, SKIPPED, Outcome
from portico.kit.sagas.transitions import Position, needs_undo_before_skip, next_position, start_compensation

ASKED = UndoReason(True, "The customer cancelled the order", "cancelled")
BACKOFF = Backoff(base=0.2, limit=60)
MAX_ATTEMPTS = 400


class Nothing(SagaState):
    pass


async def call(state: Nothing, calls: Calls) -> None: ...
async def write(state: Nothing, work: UnitOfWork) -> None: ...


def act(*, remote: bool) -> Any:
    """Return a function of a step. These tests never call it."""
    return call if remote else write


@st.composite
def sagas(draw: st.DrawFn) -> Saga[Any]:
    length = draw(st.integers(1, 5))
    no_return = draw(st.sampled_from([length, length - 1, length // 2]))
    steps = []
    for place in range(length):
        name = f"step-{place}"
        do = act(remote=draw(st.sampled_from([True, True, False])))
        if place >= no_return:
            steps.append(Step(name, do, retry=FOREVER))
            continue
        undo = act(remote=draw(st.booleans())) if draw(st.sampled_from([True, True, False])) else None
        steps.append(Step(name, do, undo=undo, retry=draw(st.integers(0, 1))))
    return Saga("any", Nothing, *steps)


@dataclass
class World:
    """The effects of the steps. An attempt reported as failed may have an effect, possibly a late one."""

    saga: Saga[Any]
    effects: list[str] = field(default_factory=list)
    voided: set[str] = field(default_factory=set)
    undone: list[str] = field(default_factory=list)
    by_hand: set[str] = field(default_factory=set)
    on_their_way: list[str] = field(default_factory=list)

    def does(self, name: str) -> None:
        if name not in self.effects and name not in self.voided:
            self.effects.append(name)

    def tries(self, at: Position, kind: str, *, secretly: bool) -> None:
        """Record an attempt with this outcome. A failed attempt of a remote step may have had an effect."""
        if at.status == "undoing":
            if kind == "done":
                self.undone.append(at.step)
                self.takes_back(at.step)
            return
        if kind == "done":
            self.does(at.step)
        elif kind == "failed" and self.saga.is_remote(at.step):
            (self.does if secretly else self.on_their_way.append)(at.step)

    def passes_over(self, at: Position, kind: str) -> Outcome | None:
        """Return the outcome of undoing a skipped step; None if it is undone later with the others."""
        if at.undo_reason is not None:
            return None
        first = needs_undo_before_skip(self.saga, at)
        if first and kind != "done":
            return ended(kind)
        if first:
            self.takes_back(at.step)
        self.by_hand.add(at.step)
        return DONE if first else SKIPPED

    def takes_back(self, name: str) -> None:
        self.voided.add(name)
        self.effects = [each for each in self.effects if each != name]

    def all_arrives(self) -> None:
        for name in self.on_their_way:
            self.does(name)


def ended(kind: Any) -> Outcome:
    return DONE if kind == "done" else Outcome(kind, "Because", "because")


def cut(saga: Saga[Any], at: Position) -> Position:
    return start_compensation(
        saga, at, at.undo_reason or ASKED, effect=saga.is_remote(at.step) and at.was_attempted_before
    )


outcomes = st.tuples(st.sampled_from(["done", "done", "failed", "failed", "refused", "pending"]), st.booleans())


def sometimes(latest: int) -> st.SearchStrategy[int | None]:
    return st.sampled_from([None, None, *range(latest)])


class TestAnySequenceOfOutcomes:
    @settings(max_examples=500, deadline=None)
    @given(sagas(), st.lists(outcomes, max_size=20), sometimes(8), sometimes(15), sometimes(3))
    def test_ends_done_or_undone_in_reverse(
        self,
        saga: Saga[Any],
        story: list[tuple[Any, bool]],
        asked_at: int | None,
        late_from: int | None,
        skipped_at: int | None,
    ) -> None:
        world = World(saga)
        at, asked = Position("running", saga.steps[0].name), False
        for number in range(MAX_ATTEMPTS):
            kind, secretly = story[number] if number < len(story) else ("done", False)
            at = replace(at, attempts=at.attempts + 1, wait=None)
            at = replace(at, skip=at.skip or (number == skipped_at and at.status == "running"))
            if not at.skip:
                world.tries(at, kind, secretly=secretly)
            if number == asked_at and at.status == "running" and not saga.step(at.step).only_forward:
                at, asked = replace(at, undo_reason=ASKED), True
            late = "saga" if late_from is not None and number >= late_from else None
            outcome = world.passes_over(at, kind) if at.skip else ended(kind)
            at = next_position(saga, at, outcome, BACKOFF, late) if outcome else cut(saga, at)
            if at.has_ended:
                break
        world.all_arrives()

        self._check(saga, world, at, asked=asked)

    def _check(self, saga: Saga[Any], world: World, at: Position, *, asked: bool) -> None:
        names = [step.name for step in saga.steps]
        revocable = {step.name for step in saga.steps if step.undo is not None}
        assert at.has_ended
        assert world.undone == sorted(world.undone, reverse=True)
        if at.status == "done":
            assert not asked
            assert [each for each in world.effects if each not in world.by_hand] == [
                each for each in names if each not in world.by_hand
            ]
            assert not revocable & world.by_hand & set(world.effects)
            assert world.undone == []
        else:
            assert at.undo_reason is not None
            assert not revocable & set(world.effects)
            assert not any(saga.step(name).only_forward for name in world.effects)


class TestStartCompensation:
    @given(sagas(), st.data())
    def test_undoes_exactly_the_steps_that_were_done(self, saga: Saga[Any], data: st.DataObject) -> None:
        reached = data.draw(st.integers(0, len(saga.steps) - 1))
        done = tuple(step.name for step in saga.steps[:reached] if step.undo is not None)
        at = Position("running", saga.steps[reached].name, done)

        to = start_compensation(saga, at, ASKED, effect=False)

        assert to.undo_reason == ASKED
        assert (to.status, to.step) == (("undoing", done[-1]) if done else ("undone", ""))
