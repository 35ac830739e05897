from dataclasses import replace

import pytest
from tests.examples.loans import service

from portico.kit.http.router import Router
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import run_service


class TestFuzzing:
    async def test_a_response_that_fails_a_check_is_an_assertion_error(self, sqlite_databases: Databases) -> None:
        router = Router(tags=["loans"])

        @router.get("/broken")
        async def read_broken() -> None:
            raise RuntimeError("broken")

        async with run_service(replace(service, routers=[router, *service.routers]), sqlite_databases) as loans:
            # An error that is no Exception would also break the fixtures of the tests that follow.
            with pytest.raises(AssertionError, match=r"Server error[\s\S]*http://service/broken"):
                await Fuzzing(loans).run()
