import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.examples.loans import service
from tests.examples.loans.events import BookLent
from tests.examples.loans.ids import BookId, LoanId
from tests.examples.loans.models import Book
from tests.examples.loans.repository import Books
from tests.examples.loans.schemas import BookCreate, BookRead
from tests.kit.http.conftest import Extended
from tests.kit.http.test_boundary import LOST_COMMIT, break_commits, full_storage, prepare, titles
from tests.support.commits import Commits

from portico.kit.auth.principal import UserId
from portico.kit.data import insert_or_refuse
from portico.kit.data.grouped_work import CommitGroup
from portico.kit.data.kit_tables import idempotency_keys
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.problems import Conflict, Problem
from portico.kit.http.boundary import Work
from portico.kit.http.router import Router
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, RunningService, run_service

BOOKS: Any = Book.__table__
TIMEOUT = 60


def new_book(title: str) -> Book:
    return Book(book_id=BookId.new(), title=title, lent_until=None)


class ShelfTaken(Conflict):
    detail = "There are {count} books."

    count: int


async def taken(work: UnitOfWork) -> Problem:
    return ShelfTaken(count=len(await work.all(select(Book))))


def router() -> Router:
    """Endpoints that add a book: one that only inserts, one that reads its row, one that must be the first."""
    router = Router(prefix="/shelved")

    @router.post("", status_code=201, response_model=BookRead, grouped=True)
    async def add(draft: BookCreate, work: Work) -> Book:
        book = new_book(draft.title)
        await Books(work).insert_all([book])
        lent = BookLent(loan_id=LoanId.new(), book_id=book.book_id, reader_id=UserId.new(), due_at=work.now)
        work.publish(lent)
        return book

    @router.post("/read", status_code=201, response_model=BookRead, grouped=True)
    async def add_and_read(draft: BookCreate, work: Work) -> Book:
        book = new_book(draft.title)
        await Books(work).insert_all([book])
        return await Books(work).get(book.book_id)

    @router.post("/first", status_code=201, response_model=BookRead, grouped=True, errors=[ShelfTaken])
    async def add_first(draft: BookCreate, work: Work) -> Book:
        book = new_book(draft.title)
        book.revision = 1
        values = {column.key: getattr(book, column.key) for column in BOOKS.columns}
        await insert_or_refuse(work, BOOKS, values, taken)
        return book

    return router


async def until_waiting(group: CommitGroup, count: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        while group.waiting < count:  # noqa: ASYNC110  # the group has no event for it
            await asyncio.sleep(0)


@asynccontextmanager
async def waiting_group(
    loans: RunningService, requests: list[asyncio.Task[Answer]], *, prepared: Sequence[str] = ()
) -> AsyncIterator[Commits]:
    """Let a transaction of the group last until all requests wait for the next."""
    await loans.given(first := new_book("the first"))
    await prepare(loans.context, list(prepared))
    group, entered, opened = loans.context.resource(CommitGroup), asyncio.Event(), asyncio.Event()

    async def refuse(_: UnitOfWork) -> Problem:
        entered.set()
        await opened.wait()
        return Conflict()

    unit = loans.context.grouped_unit_of_work()
    unit.defer_claim(BOOKS, {column.key: getattr(first, column.key) for column in BOOKS.columns}, refuse, first=True)
    blocking = asyncio.create_task(unit.commit())
    async with asyncio.timeout(TIMEOUT):
        await entered.wait()
        commits = Commits(loans.context, "books")
        yield commits
        await until_waiting(group, len(requests))
        opened.set()
        with pytest.raises(Conflict):
            await blocking
        await asyncio.wait(requests)


async def sent(
    loans: RunningService, wanted: list[str], *, path: str = "/shelved", key: str | None = None
) -> tuple[list[Answer], int]:
    """Send requests that wait for the same transaction. Return the responses and the number of commits."""
    user, requests = loans.as_user(), list[asyncio.Task[Answer]]()
    headers = {} if key is None else {"idempotency-key": key}
    async with waiting_group(loans, requests) as commits:
        requests += [asyncio.create_task(user.post(path, json={"title": title}, headers=headers)) for title in wanted]
    return [each.result() for each in requests], commits.count


async def keys(loans: RunningService) -> int:
    async with loans.context.reader() as reader:
        return int((await reader.execute(select(func.count()).select_from(idempotency_keys))).scalar_one())


@pytest.fixture
def shelves(extended: Extended) -> AbstractAsyncContextManager[RunningService]:
    return extended(router())


class TestSimultaneousRequests:
    async def test_are_one_transaction(self, shelves: AbstractAsyncContextManager[RunningService]) -> None:
        async with shelves as loans:
            wanted = [f"book {number}" for number in range(30)]

            answers, commits = await sent(loans, wanted)

            assert [answer.status_code for answer in answers] == [201] * 30
            assert [answer.json()["title"] for answer in answers] == wanted
            assert {answer.headers["etag"] for answer in answers} == {'"1"'}
            assert commits == 1
            assert sorted(await titles(loans)) == sorted([*wanted, "the first"])
            published: list[Any] = await loans.published()
            assert [event.book_id for event in published] == [answer.json()["book_id"] for answer in answers]

    async def test_one_that_comes_alone_is_committed_at_once(self, embedded_extended: Extended) -> None:
        async with embedded_extended(router()) as loans:
            commits = Commits(loans.context, "books")

            answer = await loans.as_user().post("/shelved", json={"title": "Dune"})

            assert (answer.status_code, commits.count) == (201, 1)

    async def test_take_no_connection_while_they_wait(self, extended: Extended) -> None:
        async with extended(router(), DATABASE_POOL_SIZE="1") as loans:
            answers, _ = await sent(loans, [f"book {number}" for number in range(30)])

            assert {answer.status_code for answer in answers} == {201}

    async def test_a_row_that_the_database_rejects_concerns_its_own_request(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            answers, _ = await sent(loans, ["a", "b", "the first", "c", "d"])

            assert [answer.status_code for answer in answers] == [201, 201, 409, 201, 201]
            assert answers[2].json()["code"] == "already_there"
            assert sorted(await titles(loans)) == ["a", "b", "c", "d", "the first"]
            assert len(await loans.published()) == 4

    async def test_a_refused_claim_concerns_its_own_request(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            answers, commits = await sent(loans, ["a", "the first", "b", "a"], path="/shelved/first")

            assert [answer.status_code for answer in answers] == [201, 409, 201, 409]
            assert answers[1].json()["detail"] == "There are 3 books."
            assert sorted(await titles(loans)) == ["a", "b", "the first"]
            assert commits == 1

    async def test_a_refused_request_keeps_no_idempotency_key(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            answers, _ = await sent(loans, ["the first"], path="/shelved/first", key="k")
            stored = await keys(loans)
            again = await loans.as_user().post(
                "/shelved/first", json={"title": "another"}, headers={"idempotency-key": "k"}
            )

            assert ([answer.status_code for answer in answers], stored) == ([409], 0)
            assert again.status_code == 201

    async def test_different_endpoints_share_a_transaction(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            user, requests = loans.as_user(), list[asyncio.Task[Answer]]()
            async with waiting_group(loans, requests) as commits:
                for title, path in (("a", ""), ("b", "/first"), ("c", ""), ("d", "/first")):
                    requests.append(asyncio.create_task(user.post(f"/shelved{path}", json={"title": title})))

            assert [each.result().status_code for each in requests] == [201] * 4
            assert commits.count == 1


class TestIdempotencyKeys:
    async def test_a_repeat_in_the_same_transaction_has_one_effect(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            user, requests = loans.as_user(), list[asyncio.Task[Answer]]()
            group, headers = loans.context.resource(CommitGroup), {"idempotency-key": "k"}
            async with waiting_group(loans, requests):
                for count in range(2):
                    await until_waiting(group, count)
                    requests.append(asyncio.create_task(user.post("/shelved", json={"title": "Dune"}, headers=headers)))
            first, again = (each.result() for each in requests)

            assert (first.status_code, again.status_code) == (201, 201)
            assert first.content == again.content
            assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
            assert again.headers["etag"] == first.headers["etag"]
            assert sorted(await titles(loans)) == ["Dune", "the first"]

    async def test_are_claimed_and_answered_in_the_same_transaction(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            commits, user, headers = Commits(loans.context, "books"), loans.as_user(), {"idempotency-key": "k"}
            first = await user.post("/shelved", json={"title": "Dune"}, headers=headers)
            count = commits.count
            again = await user.post("/shelved", json={"title": "Dune"}, headers=headers)

            assert (first.status_code, count, await keys(loans)) == (201, 1, 1)
            assert again.content == first.content
            assert again.headers["idempotency-replayed"] == "true"

    async def test_expire_after_a_day(self, shelves: AbstractAsyncContextManager[RunningService]) -> None:
        async with shelves as loans:
            user, headers = UserId.new(), {"idempotency-key": "k"}
            first = await loans.as_user(subject=user).post("/shelved", json={"title": "a"}, headers=headers)
            loans.clock.advance(86_401)
            second = await loans.as_user(subject=user).post("/shelved", json={"title": "b"}, headers=headers)
            again = await loans.as_user(subject=user).post("/shelved", json={"title": "b"}, headers=headers)

            assert (first.status_code, second.status_code) == (201, 201)
            assert again.content == second.content
            assert sorted(await titles(loans)) == ["a", "b"]

    async def test_with_another_body_are_rejected(self, shelves: AbstractAsyncContextManager[RunningService]) -> None:
        async with shelves as loans:
            user, headers = loans.as_user(), {"idempotency-key": "k"}
            await user.post("/shelved", json={"title": "a"}, headers=headers)
            other = await user.post("/shelved", json={"title": "b"}, headers=headers)

            assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


class TestOtherStatements:
    async def test_see_what_was_inserted_before_and_are_committed_alone(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            headers = {"idempotency-key": "k"}
            answer = await loans.as_user().post("/shelved/read", json={"title": "Dune"}, headers=headers)

            assert (answer.status_code, answer.json()["title"]) == (201, "Dune")
            assert await titles(loans) == ["Dune"]
            assert await keys(loans) == 1


class TestFailures:
    async def test_of_the_commit_store_nothing(self, shelves: AbstractAsyncContextManager[RunningService]) -> None:
        async with shelves as loans:
            await break_commits(loans.context)

            answer = await loans.as_user().post("/shelved", json={"title": "Dune"})

            assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
            assert await titles(loans) == []

    async def test_of_the_connection_during_the_commit_have_an_unknown_outcome(
        self, postgresql_databases: Databases
    ) -> None:
        whole = replace(service, routers=[*service.routers, router()])
        async with run_service(whole, postgresql_databases) as loans:
            requests: list[asyncio.Task[Answer]] = []
            async with waiting_group(loans, requests, prepared=LOST_COMMIT):
                sending = (loans.as_user().post("/shelved", json={"title": title}) for title in "abc")
                requests += [asyncio.create_task(each) for each in sending]

            answers = [each.result() for each in requests]
            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "outcome_unknown")}

    async def test_without_space_store_nothing_and_say_so(
        self, shelves: AbstractAsyncContextManager[RunningService]
    ) -> None:
        async with shelves as loans:
            async with full_storage(loans.context):
                for number in range(100):
                    answer = await loans.as_user().post("/shelved", json={"title": f"{number:0200}"})
                    if answer.status_code != 201:
                        break

            assert (answer.status_code, answer.json()["code"]) == (503, "storage_full")
