import ast
import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from portico.kit import _compat
from portico.kit._compat import (
    FAST_PATHS,
    Library,
    UnsupportedVersion,
    parse_fast_paths,
    require,
    require_parameters,
)
from portico.kit.settings import Settings, SettingsError, read_settings

ROOT = Path(__file__).parents[2]
PYDANTIC = Library("pydantic", "1.10")
MODULES = sorted(path for path in Path(_compat.__file__).parent.glob("*.py") if path.stem != "__init__")


class Shelf:
    """A class of a library."""

    def __init__(self) -> None:
        self._books: list[str] = []

    def add(self, title: str) -> None:
        self._books.append(title)


class TestALibrary:
    def test_whose_shape_is_as_expected_raises_nothing(self) -> None:
        with PYDANTIC.shape():
            require(Shelf, "add", "_books")
            require_parameters(Shelf.add, "title")

    def test_without_a_module_names_it_and_the_versions(self) -> None:
        with pytest.raises(UnsupportedVersion) as raised, PYDANTIC.shape():
            import pydantic.shelves  # type: ignore[import-not-found]  # noqa: F401  it does not exist

        message = str(raised.value)
        assert "No module named 'pydantic.shelves'" in message
        assert f"pydantic 1.10 that the installed version {version('pydantic')} lacks" in message
        assert message.endswith("Install pydantic 1.10.")

    def test_without_an_attribute_names_it(self) -> None:
        with pytest.raises(UnsupportedVersion, match=r"Shelf has no attribute '_size'"), PYDANTIC.shape():
            require(Shelf, "add", "_size")

    def test_without_a_parameter_names_it(self) -> None:
        with pytest.raises(UnsupportedVersion, match=r"Shelf\.add has no parameter 'author'"), PYDANTIC.shape():
            require_parameters(Shelf.add, "title", "author")

    def test_says_how_to_do_without_a_fast_path(self) -> None:
        advice = "Install pydantic 1.10, or set COMPAT_FAST_PATHS to a list without fastapi_query"

        with pytest.raises(UnsupportedVersion, match=advice), PYDANTIC.shape("fastapi_query"):
            require(Shelf, "_size")

    def test_that_is_not_installed_is_a_plain_import_error(self) -> None:
        with pytest.raises(ModuleNotFoundError), Library("shelves", "1.0").shape():
            import shelves  # type: ignore[import-not-found]  # noqa: F401  it does not exist


class TestFastPaths:
    @pytest.mark.parametrize(
        ("text", "names"), [("none", ()), ("fastapi_query", ("fastapi_query",)), (" nats_publish,", ("nats_publish",))]
    )
    def test_are_a_list_of_names(self, text: str, names: tuple[str, ...]) -> None:
        assert parse_fast_paths(text) == names

    def test_are_all_enabled_by_default(self) -> None:
        assert read_settings(Settings, environ={}).value.compat_fast_paths == FAST_PATHS

    def test_with_an_unknown_name_are_rejected_with_the_known_ones(self) -> None:
        with pytest.raises(SettingsError) as raised:
            read_settings(Settings, environ={"COMPAT_FAST_PATHS": "fastapi_query,warp"})

        assert "COMPAT_FAST_PATHS=fastapi_query,warp (environment) cannot be used: unknown: warp" in str(raised.value)
        assert ", ".join(FAST_PATHS) in str(raised.value)

    def test_cannot_be_set_in_a_file_that_is_read_later(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("COMPAT_FAST_PATHS=none\n")

        with pytest.raises(SettingsError, match=r"COMPAT_FAST_PATHS is read before \.env and cannot be set there"):
            read_settings(Settings, environ={}, dotenv_file=tmp_path / ".env")

    @pytest.mark.parametrize(
        ("text", "enabled"), [("", FAST_PATHS), ("none", ()), ("fastapi_query", ("fastapi_query",)), ("warp", ())]
    )
    def test_are_enabled_by_the_environment(self, text: str, enabled: tuple[str, ...]) -> None:
        code = "from portico.kit._compat import *; print(*[name for name in FAST_PATHS if is_enabled(name)], sep=',')"

        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COMPAT_FAST_PATHS": text},
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout.strip() == ",".join(enabled)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
class TestAModule:
    def test_says_the_version_it_was_written_for(self, path: Path) -> None:
        [(_, written_for)] = libraries(path)

        assert f" {written_for}." in f"{ast.get_docstring(ast.parse(path.read_text()))}".partition("\n")[0].replace(
            ",", "."
        ).replace(":", ".")

    def test_is_written_for_the_versions_that_can_be_installed(self, path: Path) -> None:
        [(name, written_for)] = libraries(path)
        wanted = requirement(name)
        major, minor = map(int, written_for.split("."))

        assert version(name).startswith(f"{written_for}.")
        assert wanted.specifier.contains(Version(version(name)))
        assert not wanted.specifier.contains(Version(f"{major}.{minor + 1}.0"))


def libraries(path: Path) -> list[tuple[str, str]]:
    """Return names and versions of the libraries that a module declares."""
    return [
        (name, written_for)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Library"
        for name, written_for in [tuple(ast.literal_eval(each) for each in node.args)]
    ]


def requirement(name: str) -> Requirement:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    [found] = [each for each in map(Requirement, texts) if each.name == name]
    return found
