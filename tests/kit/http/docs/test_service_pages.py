import re

from portico.kit.runtime.service import Service
from portico.testing.databases import Databases
from portico.testing.running_service import run_service

BOOKS = Service(name="books", summary="The books", module=__name__)


class TestServicePages:
    async def test_pages_load_nothing_from_other_hosts(self, sqlite_databases: Databases) -> None:
        async with run_service(BOOKS, sqlite_databases) as books:
            for page in ("/docs", "/redoc"):
                answer = await books.anonymous.get(page)
                loaded = re.findall(r'(?:src|href)="([^"]+)"', answer.content.decode())
                statuses = [(await books.anonymous.get(path)).status_code for path in loaded]

                assert answer.status_code == 200
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert loaded
                assert set(statuses) == {200}

    async def test_pages_are_not_in_the_openapi_document(self, sqlite_databases: Databases) -> None:
        async with run_service(BOOKS, sqlite_databases) as books:
            document = (await books.anonymous.get("/openapi.json")).json()

        assert not [path for path in document["paths"] if path.startswith(("/docs", "/redoc"))]
