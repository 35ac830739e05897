"""PUBLIC_READS decides whether the reads of ticketing need a token, at each service and at its gateway."""

import pytest

from portico.gateway import policy_of
from portico.gateway.routes import Route
from portico.kit.runtime.service import Service
from portico.kit.settings import Settings
from portico.services.events import service as events
from portico.services.search import service as search
from portico.services.seating import service as seating
from portico.testing.databases import Databases
from portico.testing.running_service import run_service, system_of

READS = {
    "events": (events, {"/events": 200, "/events/17": 404}),
    "seating": (seating, {"/inventory/17": 404, "/inventory/17/seats": 404}),
    "search": (search, {"/search": 200}),
}


@pytest.mark.parametrize(("service", "reads"), READS.values(), ids=READS)
class TestPublicReads:
    async def test_need_no_token(self, service: Service, reads: dict[str, int], sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases, background=False) as run:
            for path, status in reads.items():
                assert (await run.anonymous.get(path)).status_code == status

    async def test_need_a_token_if_they_are_not_public(
        self, service: Service, reads: dict[str, int], sqlite_databases: Databases
    ) -> None:
        variables = {"PUBLIC_READS": "false"}
        async with run_service(service, sqlite_databases, background=False, variables=variables) as run:
            document = (await run.anonymous.get("/openapi.json")).json()
            for path, status in reads.items():
                assert (await run.anonymous.get(path)).status_code == 401
                assert (await run.as_user().get(path)).status_code == status
                described = document["paths"][path.replace("17", "{event_id}")]["get"]
                assert (described["security"], "401" in described["responses"]) == ([{"bearer": []}], True)

    def test_are_declared_to_the_gateway(self, service: Service, reads: dict[str, int]) -> None:
        for public_reads, kind in ((True, "public"), (False, "known")):
            table = policy_of(system_of(service), Settings(public_reads=public_reads)).table
            for path in reads:
                route = table.find("GET", path)
                assert isinstance(route, Route)
                assert route.access.kind == kind
