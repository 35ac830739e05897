import asyncio
import hashlib
from typing import Any

import orjson
import pytest
from fastapi.responses import PlainTextResponse, StreamingResponse
from sqlalchemy import func, select
from tests.examples.loans.models import Book
from tests.examples.loans.schemas import BookCreate, BookRead
from tests.kit.http.conftest import Extended

from portico.kit.auth.principal import UserId
from portico.kit.calls.channel import Outgoing
from portico.kit.data.kit_tables import idempotency_keys
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.http.boundary import Work
from portico.kit.http.idempotency import Claim
from portico.kit.http.router import Router
from portico.kit.runtime.kit_jobs import delete_old_idempotency_keys
from portico.testing.running_service import Answer, Caller, RunningService

DAY = 86_400


async def rows(loans: RunningService, table: Any) -> int:
    async with loans.context.reader() as reader:
        return int((await reader.execute(select(func.count()).select_from(table))).scalar_one())


async def add(caller: Caller, title: str, key: str = "k1") -> Answer:
    return await caller.post("/books", json={"title": title}, headers={"idempotency-key": key})


class TestRepeats:
    async def test_get_the_same_response_and_have_one_effect(self, loans: RunningService) -> None:
        librarian = loans.as_user("books:write")

        first = await add(librarian, "Dune")
        again = await add(librarian, "Dune")

        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert await rows(loans, Book) == 1

    async def test_have_the_same_etag(self, loans: RunningService) -> None:
        librarian = loans.as_user("books:write")

        first = await add(librarian, "Dune")
        again = await add(librarian, "Dune")

        assert first.headers["etag"]
        assert again.headers["etag"] == first.headers["etag"]

    async def test_with_another_body_are_rejected(self, loans: RunningService) -> None:
        librarian = loans.as_user("books:write")
        await add(librarian, "Dune")

        answer = await add(librarian, "Solaris")

        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert await rows(loans, Book) == 1

    async def test_forty_at_once_have_one_effect(self, loans: RunningService) -> None:
        librarian = loans.as_user("books:write")

        answers = await asyncio.gather(*(add(librarian, "Dune") for _ in range(40)))

        assert {answer.status_code for answer in answers} <= {201, 409}
        made = [answer for answer in answers if answer.status_code == 201]
        assert len({answer.content for answer in made}) == 1
        for answer in answers:
            if answer.status_code == 409:
                assert (answer.json()["code"], answer.headers["retry-after"]) == ("idempotency_key_in_flight", "1")
        assert await rows(loans, Book) == 1

    async def test_of_another_caller_are_new_requests(self, loans: RunningService) -> None:
        first = await add(loans.as_user("books:write"), "Dune")
        other = await add(loans.as_user("books:write"), "Solaris")

        assert (first.status_code, other.status_code) == (201, 201)
        assert "idempotency-replayed" not in other.headers

    async def test_by_another_token_of_the_same_caller_are_repeats(self, loans: RunningService) -> None:
        subject = UserId.new()
        first = await add(loans.as_user("books:write", subject=subject), "Dune")
        again = await add(loans.as_user("books:write", subject=subject), "Dune")

        assert again.content == first.content

    async def test_while_the_first_is_in_flight_get_retry_after(self, embedded_extended: Extended) -> None:
        reached, opened = asyncio.Event(), asyncio.Event()
        router = Router(prefix="/slow")

        @router.post("")
        async def wait() -> str:
            reached.set()
            await opened.wait()
            return "done"

        async with embedded_extended(router) as loans:
            headers = {"idempotency-key": "k1"}
            first = asyncio.create_task(loans.anonymous.post("/slow", headers=headers))
            await reached.wait()
            second = await loans.anonymous.post("/slow", headers=headers)
            opened.set()

            assert (second.status_code, second.headers["retry-after"]) == (409, "1")
            assert (await first).status_code == 200
            assert (await loans.anonymous.post("/slow", headers=headers)).headers["idempotency-replayed"] == "true"

    async def test_after_a_day_are_new_requests(self, loans: RunningService) -> None:
        subject = UserId.new()
        await add(loans.as_user("books:write", subject=subject), "Dune")
        loans.clock.advance(DAY - 1)
        within = await add(loans.as_user("books:write", subject=subject), "Dune")
        loans.clock.advance(2)

        after = await add(loans.as_user("books:write", subject=subject), "Solaris")

        assert within.headers["idempotency-replayed"] == "true"
        assert after.status_code == 201
        assert await rows(loans, Book) == 2

    async def test_whose_expired_key_is_deleted_concurrently_are_new_requests(
        self, loans: RunningService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim, calls = Claim._try_claim, 0

        async def meets_a_key_that_is_then_deleted(self: Claim, work: UnitOfWork) -> bool:
            nonlocal calls
            calls += 1
            return calls > 1 and await claim(self, work)

        monkeypatch.setattr(Claim, "_try_claim", meets_a_key_that_is_then_deleted)

        assert (await add(loans.as_user("books:write"), "Dune")).status_code == 201

    async def test_expired_keys_are_deleted_by_a_job(self, loans: RunningService) -> None:
        await add(loans.as_user("books:write"), "Dune")
        await delete_old_idempotency_keys(loans.context)
        assert await rows(loans, idempotency_keys) == 1

        loans.clock.advance(DAY + 1)
        await delete_old_idempotency_keys(loans.context)

        assert await rows(loans, idempotency_keys) == 0


class TestStoredResponses:
    async def test_an_error_response_is_not_stored(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))
        librarian = loans.as_user("books:write")

        refused = await add(librarian, "Dune")

        assert refused.status_code == 409
        assert await rows(loans, idempotency_keys) == 0

    async def test_a_secret_response_is_not_stored(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/tokens")

        @router.post("", stores_response=False)
        async def issue() -> str:
            return "a token"

        async with embedded_extended(router) as loans:
            for _ in range(2):
                answer = await loans.anonymous.post("/tokens", headers={"idempotency-key": "k1"})
                assert "idempotency-replayed" not in answer.headers
            assert await rows(loans, idempotency_keys) == 0

    async def test_a_response_that_is_not_json_is_stored(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/texts")

        @router.post("")
        async def write(draft: BookCreate) -> PlainTextResponse:
            return PlainTextResponse(draft.title)

        async with embedded_extended(router) as loans:
            headers = {"idempotency-key": "k1"}
            first = await loans.anonymous.post("/texts", json={"title": "Dünen"}, headers=headers)
            again = await loans.anonymous.post("/texts", json={"title": "Dünen"}, headers=headers)

            assert again.content.decode() == "Dünen"
            assert again.headers["content-type"] == first.headers["content-type"]

    async def test_a_streamed_response_cannot_be_stored(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/streams")

        @router.post("")
        async def stream(work: Work) -> StreamingResponse:
            work.add(Book(title="Dune"))
            return StreamingResponse(iter([b"a", b"b"]))

        async with embedded_extended(router) as loans:
            answer = await loans.anonymous.post("/streams", headers={"idempotency-key": "k1"})

            assert answer.status_code == 500
            assert await rows(loans, Book) == 0

    async def test_a_response_without_a_body_is_stored(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/empties")

        @router.post("", status_code=204)
        async def act(work: Work) -> None:
            work.add(Book(title="Dune"))

        async with embedded_extended(router) as loans:
            for _ in range(2):
                answer = await loans.anonymous.post("/empties", headers={"idempotency-key": "k1"})
                assert (answer.status_code, answer.content) == (204, b"")
            assert await rows(loans, Book) == 1


class TestKeys:
    @pytest.mark.parametrize("key", ["", "x" * 256, "tab\tin it", "caf\x00"])
    async def test_that_are_invalid_are_rejected(self, key: str, embedded_loans: RunningService) -> None:
        answer = await add(embedded_loans.as_user("books:write"), "Dune", key)

        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")

    async def test_of_255_characters_are_accepted(self, embedded_loans: RunningService) -> None:
        assert (await add(embedded_loans.as_user("books:write"), "Dune", "x" * 255)).status_code == 201

    async def test_are_ignored_by_other_routes(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/others")

        @router.post("", status_code=201)
        async def add_other(draft: BookCreate, work: Work) -> BookRead:
            book = Book(title=draft.title + "!")
            work.add(book)
            return BookRead.of(book)

        async with embedded_extended(router) as loans:
            caller = loans.as_user("books:write")
            await add(caller, "Dune")
            other = await caller.post("/others", json={"title": "Dune"}, headers={"idempotency-key": "k1"})

            assert (other.status_code, other.json()["title"]) == (201, "Dune!")

    async def test_of_two_anonymous_callers_never_meet(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/letters")
        written: list[str] = []

        @router.post("", status_code=201)
        async def write(draft: BookCreate) -> str:
            written.append(draft.title)
            return f"letter {len(written)}"

        async with embedded_extended(router) as loans:

            async def send(title: str, address: str) -> Answer:
                headers = {"idempotency-key": "k1", "x-forwarded-for": address}
                return await loans.anonymous.post("/letters", json={"title": title}, headers=headers)

            first = await send("Dune", "203.0.113.1")
            same = await send("Dune", "203.0.113.1")
            other_content = await send("Solaris", "203.0.113.1")
            other_address = await send("Dune", "203.0.113.2")

        assert [each.json() for each in (first, same, other_content, other_address)] == [
            "letter 1",
            "letter 1",
            "letter 2",
            "letter 3",
        ]
        assert same.headers["idempotency-replayed"] == "true"

    async def test_protect_the_stored_digest_of_the_body(self, embedded_loans: RunningService) -> None:
        """A plain digest of a body with a password could be compared with those of frequent passwords."""
        await add(embedded_loans.as_user("books:write"), "Dune")

        async with embedded_loans.context.reader() as reader:
            [stored] = await reader.rows(select(idempotency_keys))

        body = orjson.dumps({"title": "Dune"})
        assert stored.fingerprint not in {hashlib.sha256(each).hexdigest() for each in (body, b"\n" + body)}

    async def test_on_several_lines_are_one_key(self, embedded_loans: RunningService) -> None:
        token = embedded_loans.issuer.token(permissions=["books:write"])
        headers = [
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
            (b"idempotency-key", b"shared"),
        ]
        answers = [
            await embedded_loans.channel.send(
                Outgoing(
                    service="loans",
                    method="POST",
                    path="/books",
                    headers=[*headers, (b"idempotency-key", second)],
                    body=orjson.dumps({"title": second.decode()}),
                    timeout=60.0,
                )
            )
            for second in (b"one", b"two")
        ]

        assert [answer.status for answer in answers] == [201, 201]

    async def test_of_unauthorized_callers_are_not_claimed(self, embedded_loans: RunningService) -> None:
        librarian = embedded_loans.as_user("books:write")
        await add(librarian, "Dune")

        assert (await add(embedded_loans.anonymous, "Dune")).status_code == 401
        assert (await add(embedded_loans.as_user(), "Dune")).status_code == 403


class TestRouteThatCallsOtherServices:
    async def test_runs_before_its_transaction_and_has_one_effect(self, extended: Extended) -> None:
        """As in two processes, both requests find the key free; one is rolled back."""
        router = Router(prefix="/slow", tags=["slow"])
        waiting = asyncio.Semaphore(0)
        begun, asked = asyncio.Event(), asyncio.Event()
        began: list[bool] = []

        @router.post("", status_code=201, calls_services=True)
        async def add_slowly(draft: BookCreate, work: Work) -> BookRead:
            began.append(work.has_begun)
            begun.set()
            if len(began) == 2:
                asked.set()
            await waiting.acquire()
            book = Book(title=draft.title)
            work.add(book)
            return BookRead.of(book)

        async with extended(router) as loans, asyncio.TaskGroup() as group:
            caller = loans.as_user()

            async def add_one() -> Answer:
                return await caller.post("/slow", json={"title": "Dune"}, headers={"idempotency-key": "k"})

            first = group.create_task(add_one())
            await begun.wait()
            loans.context.keys_in_flight.clear()
            second = group.create_task(add_one())
            await asked.wait()
            waiting.release()
            waiting.release()
            answers = [await first, await second]
            third = await add_one()
            other = await caller.post("/slow", json={"title": "Solaris"}, headers={"idempotency-key": "k"})
            made = await rows(loans, Book)

        assert began == [False, False]
        assert [answer.status_code for answer in (*answers, third)] == [201, 201, 201]
        assert len({answer.content for answer in (*answers, third)}) == 1
        assert other.json()["code"] == "idempotency_key_reused"
        assert made == 1
