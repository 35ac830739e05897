import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError
from tests.examples.loans import service
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book
from tests.examples.loans.repository import Books
from tests.examples.loans.schemas import BookCreate, BookRead
from tests.kit.http.conftest import Extended
from tests.kit.http.wire import send

from portico.kit.foundation.problems import Conflict
from portico.kit.http.boundary import Work
from portico.kit.http.router import Router
from portico.kit.runtime.context import ServiceRuntime
from portico.servers import MariaDBServer, PostgreSQLServer
from portico.testing.databases import Databases, ServerDatabases
from portico.testing.running_service import RunningService, run_service

# A constraint that the database checks at the commit, like a deferred foreign key.
BROKEN_COMMIT = {
    "sqlite": [
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "CREATE TABLE orphans (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER orphaned AFTER INSERT ON books BEGIN INSERT INTO orphans VALUES (1); END",
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the secret wish'; END $$",
        "CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON books DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}
LOST_COMMIT = [
    "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER dying AFTER INSERT ON books DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()",
]


async def titles(loans: RunningService) -> list[str]:
    async with loans.context.reader() as reader:
        return [book.title for book in await reader.all(select(Book))]


async def prepare(context: ServiceRuntime, statements: list[str]) -> None:
    async with context.database.writer.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def break_commits(context: ServiceRuntime) -> None:
    if context.database.dialect in BROKEN_COMMIT:
        await prepare(context, BROKEN_COMMIT[context.database.dialect])
        return

    def refuse(_connection: Any) -> None:  # MariaDB checks no constraint at the commit
        raise RuntimeError("the secret wish")

    event.listen(context.database.writer.sync_engine, "commit", refuse)


FULL_STORAGE = {
    "postgresql": [  # reported by the commit, like the lack of space for deferred work
        """CREATE FUNCTION refuse_for_space() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$""",
        """CREATE CONSTRAINT TRIGGER books_full AFTER INSERT ON books DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse_for_space()""",
        "CREATE TRIGGER keys_full BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION refuse_for_space()",
    ],
    "mysql": [
        f"""CREATE TRIGGER {table}_full BEFORE INSERT ON {table} FOR EACH ROW
        SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'no space left'"""
        for table, number in (("books", 1114), ("idempotency_keys", 1021))
    ],
}
SPACE_AGAIN = {
    "postgresql": ["DROP TRIGGER books_full ON books", "DROP TRIGGER keys_full ON idempotency_keys"],
    "mysql": ["DROP TRIGGER books_full", "DROP TRIGGER idempotency_keys_full"],
}


@contextlib.asynccontextmanager
async def full_storage(context: ServiceRuntime) -> AsyncIterator[None]:
    """Leave the database no space for new rows: SQLite by the limit of its file, the servers by the error they report."""
    if context.database.dialect != "sqlite":
        await prepare(context, FULL_STORAGE[context.database.dialect])
        yield
        await prepare(context, SPACE_AGAIN[context.database.dialect])
        return
    async with context.database.writer.connect() as connection:
        await connection.execute(text("CREATE TABLE filler (bytes BLOB)"))
        await connection.commit()
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        with contextlib.suppress(OperationalError):
            while True:
                await connection.execute(text("INSERT INTO filler VALUES (zeroblob(100))"))
                await connection.commit()
    yield
    async with context.database.writer.connect() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))


class Gate:
    """Blocks an endpoint between its write and its response until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    def router(self, **options: Any) -> Router:
        router = Router(prefix="/gated")

        @router.post("", status_code=201, **options)
        async def add(draft: BookCreate, work: Work) -> BookRead:
            book = Book(title=draft.title)
            work.add(book)
            await work.flush()
            self.reached.set()
            await self.opened.wait()
            return BookRead.of(book)

        return router


class TestCommit:
    async def test_comes_before_the_response(self, loans: RunningService) -> None:
        await break_commits(loans.context)

        answer = await loans.as_user("books:write").post("/books", json={"title": "Dune"})

        assert answer.status_code == 500
        assert answer.json()["code"] == "internal_error"
        assert await titles(loans) == []

    async def test_failure_reveals_no_internals(self, loans: RunningService) -> None:
        await break_commits(loans.context)

        answer = await loans.as_user("books:write").post("/books", json={"title": "Dune"})

        for word in (b"secret", b"INSERT", b"FOREIGN", b"trigger", b".py", b"sqlalchemy"):
            assert word not in answer.content

    async def test_losing_the_connection_has_an_unknown_outcome(self, postgresql_databases: Databases) -> None:
        async with run_service(service, postgresql_databases) as loans:
            await prepare(loans.context, LOST_COMMIT)

            answer = await loans.as_user("books:write").post("/books", json={"title": "Dune"})

            assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
            assert "retry-after" in answer.headers

    async def test_without_space_stores_nothing_and_says_so(self, loans: RunningService) -> None:
        async with full_storage(loans.context):
            for number in range(100):  # SQLite's last page of the table has room for a few
                title = f"{number:0200}"
                answer = await loans.as_user("books:write").post("/books", json={"title": title})
                if answer.status_code != 201:
                    break
            is_ready = await loans.anonymous.get("/health/ready")
        stored = await titles(loans)
        recovered = await loans.context.database.check()

        assert (answer.status_code, answer.json()["code"]) == (503, "storage_full")
        assert int(answer.headers["retry-after"]) > 1
        assert (is_ready.status_code, is_ready.json()["failing"]) == (503, ["database"])
        assert (title in stored, recovered) == (False, None)

    async def test_a_returned_error_rolls_back(self, extended: Extended) -> None:
        router = Router(prefix="/odd")

        @router.post("")
        async def refuse(work: Work) -> JSONResponse:
            work.add(Book(title="Dune"))
            await work.flush()
            return JSONResponse({}, 409)

        async with extended(router) as loans:
            assert (await loans.anonymous.post("/odd")).status_code == 409
            assert await titles(loans) == []

    async def test_a_raised_problem_rolls_back(self, extended: Extended) -> None:
        router = Router(prefix="/odd")

        @router.post("")
        async def refuse(work: Work) -> None:
            work.add(Book(title="Dune"))
            await work.flush()
            raise Conflict

        async with extended(router) as loans:
            assert (await loans.anonymous.post("/odd")).status_code == 409
            assert await titles(loans) == []

    async def test_an_unexpected_exception_is_a_500_and_rolls_back(self, extended: Extended) -> None:
        router = Router(prefix="/odd")

        @router.post("")
        async def fail(work: Work) -> None:
            work.add(Book(title="Dune"))
            await work.flush()
            raise KeyError("/etc/passwd")

        async with extended(router) as loans:
            answer = await loans.anonymous.post("/odd")
            assert answer.status_code == 500
            assert b"passwd" not in answer.content
            assert await titles(loans) == []

    async def test_a_response_that_violates_its_model_is_a_500_and_rolls_back(self, extended: Extended) -> None:
        router = Router(prefix="/odd")

        @router.post("")
        async def lie(work: Work) -> BookRead:
            work.add(Book(title="Dune"))
            await work.flush()
            return {"title": 5}  # type: ignore[return-value]

        async with extended(router) as loans:
            assert (await loans.anonymous.post("/odd")).status_code == 500
            assert await titles(loans) == []

    async def test_the_next_request_reads_what_was_written(self, loans: RunningService) -> None:
        made = (await loans.as_user("books:write").post("/books", json={"title": "Dune"})).json()

        assert (await loans.anonymous.get(f"/books/{made['book_id']}")).json() == made


class TestRaces:
    async def test_a_deadlock_victim_is_retried(self, server_databases: Databases) -> None:
        router, barrier, met = Router(prefix="/swaps"), asyncio.Barrier(2), [0]

        @router.post("/{first}/{second}")
        async def swap(first: BookId, second: BookId, work: Work) -> None:
            one = await Books(work).get(first, lock=True)
            if met[0] < 2:
                met[0] += 1
                await barrier.wait()
            other = await Books(work).get(second, lock=True)
            one.title, other.title = one.title + "'", other.title + "'"

        async with _with(router, server_databases) as loans:
            one = await loans.given(Book(title="one"))
            other = await loans.given(Book(title="other"))
            answers = await asyncio.gather(
                loans.anonymous.post(f"/swaps/{one.book_id}/{other.book_id}"),
                loans.anonymous.post(f"/swaps/{other.book_id}/{one.book_id}"),
            )

            assert [answer.status_code for answer in answers] == [200, 200]
            assert sorted(await titles(loans)) == ["one''", "other''"]

    async def test_the_later_change_of_an_unlocked_row_is_a_conflict(self, server_databases: Databases) -> None:
        router, read, go_on = Router(prefix="/unlocked"), asyncio.Event(), asyncio.Event()

        @router.post("/{book_id}")
        async def rename(book_id: BookId, work: Work) -> None:
            book = await Books(work).get(book_id)
            read.set()
            await go_on.wait()
            book.title = "late"

        async with _with(router, server_databases) as loans:
            book = await loans.given(Book(title="first"))
            late = asyncio.create_task(loans.anonymous.post(f"/unlocked/{book.book_id}"))
            await read.wait()
            await loans.as_user("books:write").put(f"/books/{book.book_id}", json={"title": "early"})
            go_on.set()

            assert ((await late).status_code, (await late).json()["code"]) == (409, "edited_meanwhile")
            assert await titles(loans) == ["early"]

    async def test_an_unhandled_unique_violation_is_a_conflict(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"), Book(title="Solaris"))

        answer = await loans.as_user("books:write").put(f"/books/{book.book_id}", json={"title": "Solaris"})

        assert (answer.status_code, answer.json()["code"]) == (409, "already_there")


def _with(router: Router, databases: Databases) -> Any:
    return run_service(replace(service, routers=[*service.routers, router]), databases)


class TestDatabaseOutage:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [PostgreSQLServer, MariaDBServer])
    async def test_is_a_503_without_partial_writes_and_recovers(
        self, kind: type[PostgreSQLServer | MariaDBServer], start_server: Callable[..., Any]
    ) -> None:
        gate, server = Gate(), await asyncio.to_thread(start_server, kind)
        async with _with(gate.router(), ServerDatabases(server, prefix="gone_")) as loans:
            asking = asyncio.create_task(loans.anonymous.post("/gated", json={"title": "half"}))
            await gate.reached.wait()
            await asyncio.to_thread(server.kill)
            gate.opened.set()

            meanwhile = await asking
            down = await loans.anonymous.get("/books")
            await asyncio.to_thread(server.restart)
            after = await loans.as_user("books:write").post("/books", json={"title": "whole"})

            assert (meanwhile.status_code, "retry-after" in meanwhile.headers) == (503, True)
            assert (down.status_code, down.json()["code"]) == (503, "database_unavailable")
            assert after.status_code == 201
            assert await titles(loans) == ["whole"]


class TestDeadline:
    async def test_exceeding_it_is_a_504_and_writes_nothing(self, extended: Extended) -> None:
        gate = Gate()
        async with extended(gate.router()) as loans:
            headers = [("content-type", "application/json"), ("x-request-deadline-ms", "100")]
            answer = await send(loans, "POST", "/gated", headers=headers, chunks=[b'{"title": "Dune"}'])

            assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
            assert await titles(loans) == []

    async def test_of_the_route_is_enforced(self, embedded_extended: Extended) -> None:
        async with embedded_extended(Gate().router(timeout=0.1)) as loans:
            assert (await loans.anonymous.post("/gated", json={"title": "Dune"})).status_code == 504

    async def test_of_the_settings_is_enforced(self, embedded_extended: Extended) -> None:
        async with embedded_extended(Gate().router(), REQUEST_TIMEOUT="0.1") as loans:
            assert (await loans.anonymous.post("/gated", json={"title": "Dune"})).status_code == 504

    @pytest.mark.parametrize("header", ["-5", "soon", "1e3", "99999999999999999999999"])
    async def test_in_an_invalid_header_is_ignored(self, header: str, embedded_loans: RunningService) -> None:
        answer = await send(embedded_loans, "GET", "/books", headers=[("x-request-deadline-ms", header)])

        assert answer.status_code == 200

    async def test_that_has_passed_is_a_504_at_once(self, embedded_loans: RunningService) -> None:
        answer = await send(embedded_loans, "GET", "/books", headers=[("x-request-deadline-ms", "0")])

        assert answer.status_code == 504

    async def test_a_timeout_raised_by_the_endpoint_is_not_a_504(self, embedded_extended: Extended) -> None:
        router = Router(prefix="/odd")

        @router.get("")
        async def give_up() -> None:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

        async with embedded_extended(router) as loans:
            assert (await loans.anonymous.get("/odd")).status_code != 504


def _bearer(loans: RunningService) -> str:
    return f"Bearer {loans.issuer.token(permissions=['books:write'])}"


class TestBody:
    async def test_beyond_the_limit_is_rejected(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.as_user("books:write").post("/books", json={"title": "x" * 10_000_000})

        assert (answer.status_code, answer.json()["limit"]) == (413, 1_048_576)

    async def test_limit_comes_from_the_settings(self, embedded_extended: Extended) -> None:
        async with embedded_extended(BODY_LIMIT="1024") as loans:
            answer = await loans.as_user("books:write").post("/books", json={"title": "x" * 1024})

            assert (answer.status_code, answer.json()["limit"]) == (413, 1024)

    async def test_limit_can_be_set_by_the_route(self, embedded_extended: Extended) -> None:
        gate = Gate()
        gate.opened.set()
        async with embedded_extended(gate.router(body_limit=64)) as loans:
            assert (await loans.anonymous.post("/gated", json={"title": "x" * 64})).status_code == 413
            assert (await loans.anonymous.post("/gated", json={"title": "x"})).status_code == 201

    async def test_beyond_the_limit_is_rejected_while_it_is_received(self, embedded_loans: RunningService) -> None:
        headers = [("authorization", _bearer(embedded_loans)), ("content-type", "application/json")]
        chunks = (b"x" * 100_000 for _ in range(20))

        answer = await send(embedded_loans, "POST", "/books", headers=headers, chunks=chunks)

        assert answer.status_code == 413

    async def test_that_breaks_off_is_not_logged_as_an_error(self, embedded_loans: RunningService) -> None:
        headers = [("authorization", _bearer(embedded_loans)), ("content-type", "application/json")]

        answer = await send(embedded_loans, "POST", "/books", headers=headers, chunks=[b'{"title":'], cut=True)

        assert answer.status_code == 499
        assert await titles(embedded_loans) == []

    async def test_that_stalls_is_a_408_that_closes_the_connection(self, embedded_extended: Extended) -> None:
        async with embedded_extended(BODY_GRACE="0.01") as loans:
            headers = [("authorization", _bearer(loans)), ("content-type", "application/json")]
            answer = await send(loans, "POST", "/books", headers=headers, chunks=[b"{"], stalls=asyncio.Event())

        assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
        assert answer.headers["connection"] == "close"

    async def test_is_awaited_from_a_client_up_to_its_share(self, embedded_extended: Extended) -> None:
        async with embedded_extended(MAX_REQUESTS="1") as loans:
            headers = [("authorization", _bearer(loans)), ("content-type", "application/json")]
            waits, stalls = asyncio.Event(), asyncio.Event()
            first = asyncio.create_task(send(loans, "POST", "/books", headers=headers, chunks=[b"{"], stalls=waits))
            await waits.wait()
            refused = await send(loans, "POST", "/books", headers=headers, chunks=[b"{"], stalls=stalls)
            whole = await loans.as_user("books:write").post("/books", json={"title": "Dune"})
            first.cancel()

        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_bodies")
        assert whole.status_code == 201

    @pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", "text/x+json", "json"])
    async def test_of_another_type_is_rejected(self, kind: str, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.as_user("books:write").post(
            "/books", content=b'{"title": "Dune"}', headers={"content-type": kind}
        )

        assert (answer.status_code, answer.json()["expected"]) == (415, "application/json")

    async def test_that_is_compressed_is_rejected_with_what_is_accepted(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.as_user("books:write").post(
            "/books",
            content=gzip.compress(b'{"title": "Dune"}'),
            headers={"content-type": "application/json", "content-encoding": "gzip"},
        )

        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_content_encoding")
        assert (answer.headers["accept-encoding"], answer.json()["encoding"]) == ("identity", "gzip")

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/merge+json"])
    async def test_of_any_json_media_type_is_accepted(self, kind: str, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.as_user("books:write").post(
            "/books", content=b'{"title": "Dune"}', headers={"content-type": kind}
        )

        assert answer.status_code == 201
