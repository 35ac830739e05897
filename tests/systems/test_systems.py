"""What holds for every system that Portico brings."""

import pytest

from portico.gateway import policy_of
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.kit.runtime.system import System
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import Settings


@pytest.fixture(params=shipped_systems())
def system(request: pytest.FixtureRequest) -> System:
    return find_system(request.param)


class TestEverySystem:
    def test_has_a_port_for_each_part(self, system: System) -> None:
        ports = [system.gateway, *(each.port for each in system.placements)]

        assert len(set(ports)) == len(ports)

    def test_has_one_owner_for_each_route(self, system: System) -> None:
        assert policy_of(system, Settings()).table.routes

    def test_gives_new_users_a_role_that_it_has(self, system: System) -> None:
        assert system.default_role in system.roles

    def test_has_the_services_that_its_services_call(self, system: System) -> None:
        called = {name for each in system.placements for name in each.service.calls}

        assert {system.placement(name).service.name for name in called} == called
