import pytest
from tests.cli.systems import library

from portico.kit.runtime.system import NoSuchService


class TestSystem:
    def test_is_moved_to_other_ports(self) -> None:
        moved = library.moved({"gateway": 9000, "loans": 9001})

        assert moved.gateway == 9000
        assert {each.name: each.port for each in moved.placements} == {"loans": 9001, "patience": 1}
        assert library.gateway == 1

    def test_names_what_was_meant(self) -> None:
        with pytest.raises(NoSuchService, match="Did you mean loans"):
            library.placement("loan")
