"""A service that is started again reuses what FastAPI found in the signatures of its endpoints, and nothing else."""

from contextlib import AsyncExitStack
from pathlib import Path

from tests.examples.loans import service

from portico.testing.databases import SQLiteDatabases
from portico.testing.running_service import RunningService, run_service, system_of

DOCUMENT = "/openapi.json"


async def document(loans: RunningService) -> object:
    return (await loans.anonymous.get(DOCUMENT)).json()


class TestAServiceThatIsStartedAgain:
    async def test_serves_its_own_database(self, tmp_path: Path) -> None:
        async with AsyncExitStack() as stack:
            first, second = [
                await stack.enter_async_context(run_service(service, SQLiteDatabases(tmp_path / name)))
                for name in ("first", "second")
            ]
            added = await first.as_user("books:write").post("/books", json={"title": "Emma"})

            assert added.status_code == 201
            assert len((await first.anonymous.get("/books")).json()) == 1
            assert (await second.anonymous.get("/books")).json() == []

    async def test_has_the_same_document(self, tmp_path: Path) -> None:
        async with run_service(service, SQLiteDatabases(tmp_path / "first")) as loans:
            first = await document(loans)
        async with run_service(service, SQLiteDatabases(tmp_path / "second")) as loans:
            assert await document(loans) == first

    async def test_has_the_case_and_the_paths_of_its_system(self, tmp_path: Path) -> None:
        camel = system_of(service, case="camel", prefix="/api")
        async with run_service(service, SQLiteDatabases(tmp_path / "snake")) as loans:
            assert "book_id" in (await add(loans, "/books"))
        async with run_service(service, SQLiteDatabases(tmp_path / "camel"), system=camel) as loans:
            assert "bookId" in (await add(loans, "/api/books"))
        async with run_service(service, SQLiteDatabases(tmp_path / "again")) as loans:
            assert "book_id" in (await add(loans, "/books"))


async def add(loans: RunningService, path: str) -> dict[str, object]:
    added: dict[str, object] = (await loans.as_user("books:write").post(path, json={"title": "Emma"})).json()
    return added
