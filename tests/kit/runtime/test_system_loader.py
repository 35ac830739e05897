from pathlib import Path

import pytest

from portico.kit.runtime.system_loader import NoSuchSystem, find_system, shipped_systems


class TestFindSystem:
    def test_shipped_systems_are_found_by_name(self) -> None:
        assert [find_system(name).name for name in shipped_systems()] == list(shipped_systems())

    def test_other_systems_are_found_by_import_path(self) -> None:
        assert find_system("tests.cli.systems:library").name == "library"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("catalgo", "Did you mean catalog?"),
            ("shop", "Portico ships commerce, catalog"),
            ("nowhere.at.all:shop", "There is no module nowhere"),
            ("tests.cli.systems:nothing", r"The module tests\.cli\.systems has no 'nothing'\. Write module:name"),
            (
                "json:dumps",
                r"has 'dumps', a function, but no System of that name\. Write module:name.*shop\.systems:shop",
            ),
        ],
    )
    def test_an_unknown_system_is_rejected_with_suggestions(self, name: str, message: str) -> None:
        with pytest.raises(NoSuchSystem, match=message.replace("?", r"\?")):
            find_system(name)

    def test_an_import_error_inside_the_module_is_raised(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "broken_shop.py").write_text("import missing_library")
        monkeypatch.syspath_prepend(tmp_path)

        with pytest.raises(ModuleNotFoundError, match="missing_library"):
            find_system("broken_shop:shop")
