import sys
from pathlib import Path

import pytest

from portico.cli.system_outline import SystemOutline, read_outline
from portico.kit.runtime.shipped_systems import import_path_of, shipped_systems
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import read_settings

SETTINGS = """
from pydantic import Field
from portico.kit import ServiceSettings

class ShelvesSettings(ServiceSettings, env_prefix="SHELVES_"):
    height: int = Field(3, description="Boards of a shelf")
"""
SERVICE = """
from portico.kit import Service
from {package}.shelves.settings import ShelvesSettings

raise RuntimeError("the service was imported")
service = Service(name="shelves", summary="Where books are", module=__name__, settings=ShelvesSettings)
"""
SYSTEM = """
from portico.kit import System
from portico.services.identity import service as identity
from {package}.shelves import service as shelves

library = System(
    "library",
    summary="Readers and books",
    gateway=8000,
    services={{identity: 8001, shelves: 8002}},
    names={{shelves: "stacks"}},
    case="camel",
    prefix="/api",
)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Write a project whose service cannot be imported. Return the name of its package."""
    name = f"library_{abs(hash(request.node.name))}"
    folder = tmp_path / name / "shelves"
    folder.mkdir(parents=True)
    (folder / "settings.py").write_text(SETTINGS)
    (folder / "__init__.py").write_text(SERVICE.format(package=name))
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "systems.py").write_text(SYSTEM.format(package=name))
    monkeypatch.syspath_prepend(tmp_path)
    return name


class TestReadOutline:
    @pytest.mark.parametrize("system", shipped_systems())
    def test_says_what_an_import_says(self, system: str) -> None:
        outline = read_outline(import_path_of(system))

        assert outline is not None
        imported = SystemOutline.of(find_system(system))
        assert [kind and kind.__name__ for kind in outline.settings] == [each.__name__ for each in imported.settings]
        assert outline.variables == imported.variables
        assert _without_settings(outline) == _without_settings(imported)

    def test_imports_the_settings_of_a_service_without_the_service(self, package: str) -> None:
        outline = read_outline(f"{package}.systems:library")

        assert outline is not None
        assert (outline.name, outline.gateway, outline.case, outline.prefix) == ("library", 8000, "camel", "/api")
        assert [(each.name, each.own_name, each.port) for each in outline.services] == [
            ("identity", "identity", 8001),
            ("stacks", "shelves", 8002),
        ]
        read = read_settings(outline.settings[1], environ={"SHELVES_HEIGHT": "5"}, dotenv_file=None)
        assert [(each.variable, each.value) for each in read.entries()] == [("SHELVES_HEIGHT", 5)]

    def test_leaves_nothing_of_the_service_imported(self, package: str) -> None:
        read_outline(f"{package}.systems:library")

        assert [each for each in sys.modules if each.startswith(f"{package}.")] == []
        with pytest.raises(RuntimeError, match="the service was imported"):
            find_system(f"{package}.systems:library")

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("systems.py", "gateway=8000", "gateway=8000 + 1"),
            ("systems.py", "services={identity: 8001, shelves: 8002}", "services=dict([(identity, 8001)])"),
            ("systems.py", "library = System(", "library = make_system("),
            ("systems.py", 'prefix="/api",', '**{"prefix": "/api"},'),
            ("systems.py", "import service as shelves", "import *"),
            ("shelves/__init__.py", "service = Service(", "service = declare("),
            ("shelves/__init__.py", "settings=ShelvesSettings", "settings=choose_settings()"),
            ("shelves/settings.py", "from pydantic import Field", "from pydantic import Feeld"),
            ("shelves/settings.py", "class ShelvesSettings", "class OtherSettings"),
            ("systems.py", "library = System(", "library = System(("),
        ],
    )
    def test_leaves_what_is_written_differently_to_an_import(
        self, package: str, tmp_path: Path, file: str, old: str, new: str
    ) -> None:
        path = tmp_path / package / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

        assert read_outline(f"{package}.systems:library") is None

    @pytest.mark.parametrize("path", ["portico.systems.nowhere:nowhere", "json:dumps", "sys:path", "nowhere.at.all:x"])
    def test_finds_no_system_where_none_is(self, path: str) -> None:
        assert read_outline(path) is None


def _without_settings(outline: SystemOutline) -> list[object]:
    services = [(each.name, each.own_name, each.port, each.summary) for each in outline.services]
    return [outline.name, outline.summary, outline.gateway, outline.case, outline.prefix, *services]
