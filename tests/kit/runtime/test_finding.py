from pathlib import Path

import pytest

from portico.kit.runtime.system_loader import NoSuchSystem, find_system, shipped_systems


class TestFindSystem:
    def test_what_portico_brings_goes_by_its_name(self) -> None:
        assert [find_system(name).name for name in shipped_systems()] == list(shipped_systems())

    def test_a_teams_own_goes_by_its_import_path(self) -> None:
        assert find_system("tests.cli.systems:library").name == "library"

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("catalgo", "Did you mean catalog?"),
            ("shop", "Portico brings commerce, catalog"),
            ("nowhere.at.all:shop", "There is no module nowhere"),
            ("tests.cli.systems:nothing", "has no System called 'nothing'"),
            ("tests.cli.systems:loans", "has no System called 'loans'"),
        ],
    )
    def test_what_is_not_there_is_refused_with_what_is(self, name: str, told: str) -> None:
        with pytest.raises(NoSuchSystem, match=told.replace("?", r"\?")):
            find_system(name)

    def test_a_module_that_fails_to_import_something_else_says_what(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "broken_shop.py").write_text("import something_that_nobody_has")
        monkeypatch.syspath_prepend(tmp_path)

        with pytest.raises(ModuleNotFoundError, match="something_that_nobody_has"):
            find_system("broken_shop:shop")
