"""Every shipped service answers generated requests as its OpenAPI document says."""

from pathlib import Path

import pytest
from tests.services.shipped import opened_for_fuzzing, shipped_services

from portico.kit.runtime.service import Service
from portico.testing.databases import Databases

SERVICES = shipped_services()
HEALTH_OPERATIONS = 3


@pytest.mark.parametrize("name", SERVICES)
async def test_responses_match_the_openapi_document(name: str, sqlite_databases: Databases, tmp_path: Path) -> None:
    service = SERVICES[name]

    async with opened_for_fuzzing(service, sqlite_databases, tmp_path) as fuzzing:
        assert await fuzzing.run() == _operations(service) + HEALTH_OPERATIONS


def _operations(service: Service) -> int:
    """Return the number of documented operations that the service declares."""
    routes = [route for router in service.routers for route in router.routes]
    return sum(route.method != "WEBSOCKET" and route.framework.get("include_in_schema", True) for route in routes)
