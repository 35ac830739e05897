import pytest
from tests.cli.systems import library

from portico.kit.runtime.system import NoSuchService


class TestSystem:
    def test_ports_can_be_replaced(self) -> None:
        moved = library.with_ports({"gateway": 9000, "loans": 9001})

        assert moved.gateway == 9000
        assert {each.name: each.port for each in moved.placements} == {"loans": 9001, "patience": 1}
        assert library.gateway == 1

    def test_an_unknown_service_is_rejected_with_a_suggestion(self) -> None:
        with pytest.raises(NoSuchService, match="Did you mean loans"):
            library.placement("loan")
