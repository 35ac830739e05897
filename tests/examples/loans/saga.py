from tests.examples.loans.desk import DeskClient
from tests.examples.loans.errors import BookAlreadyLent
from tests.examples.loans.ids import BookId, LendingId
from tests.examples.loans.models import FORTNIGHT, Lending
from tests.examples.loans.repository import Books, Lendings

from portico.kit import (
    FOREVER,
    Calls,
    Saga,
    SagaState,
    Step,
    StepPending,
    UndoReason,
    UnitOfWork,
    UserId,
    minutes,
    seconds,
)
from portico.kit.sagas import start_saga


class LendingState(SagaState):
    lending_id: LendingId
    book_id: BookId
    reader_id: UserId
    deposit: int = 500
    charge_id: str | None = None


async def reserve_copy(state: LendingState, work: UnitOfWork) -> None:
    lending = await Lendings(work).get(state.lending_id, lock=True)
    book = await Books(work).get(state.book_id, lock=True)
    if book.lent_until is not None:
        raise BookAlreadyLent(book_id=book.book_id, until=book.lent_until)
    book.lent_until = work.now
    lending.moved("reserved")


async def release_copy(state: LendingState, work: UnitOfWork) -> None:
    lending = await Lendings(work).get(state.lending_id, lock=True)
    (await Books(work).get(state.book_id, lock=True)).lent_until = None
    lending.moved("released")


async def take_deposit(state: LendingState, calls: Calls) -> LendingState:
    charge = await calls(DeskClient).charge(f"{state.lending_id}/deposit", amount=state.deposit)
    if charge.status == "processing":
        raise StepPending(retry_after=2)
    return state.with_(charge_id=charge.charge_id)


async def return_deposit(state: LendingState, calls: Calls) -> None:
    await calls(DeskClient).void(f"{state.lending_id}/deposit")


async def mark_paid(state: LendingState, work: UnitOfWork) -> None:
    lending = await Lendings(work).get(state.lending_id, lock=True)
    lending.charge_id = state.charge_id
    lending.moved("paid")


async def hand_over(state: LendingState, work: UnitOfWork) -> None:
    (await Books(work).get(state.book_id, lock=True)).lent_until = work.now + FORTNIGHT
    (await Lendings(work).get(state.lending_id, lock=True)).moved("lent")


async def give_up(state: LendingState, work: UnitOfWork, why: UndoReason) -> None:
    lending = await Lendings(work).get(state.lending_id, lock=True)
    lending.reason = why.reason
    lending.moved("given_up")


lend_for_deposit = Saga(
    "lend-for-deposit",
    LendingState,
    Step("reserve-copy", reserve_copy, undo=release_copy),
    Step("take-deposit", take_deposit, record=mark_paid, undo=return_deposit, within=seconds(10), retry=2),
    Step("hand-over", hand_over, retry=FOREVER),
    deadline=minutes(15),
    when_undone=give_up,
)


async def ask_for(work: UnitOfWork, book_id: BookId, *, reader_id: UserId) -> Lending:
    """Ask for a book that is lent for a deposit."""
    lending = Lending(book_id=book_id, reader_id=reader_id, story="asked")
    work.add(lending)
    state = LendingState(lending_id=lending.lending_id, book_id=book_id, reader_id=reader_id)
    await start_saga(work, lend_for_deposit, state, subject=lending.lending_id)
    return lending
