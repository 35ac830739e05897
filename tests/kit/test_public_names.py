"""The public names of the kit. A name that changes here changes every service."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import portico.kit

PACKAGE = Path(portico.kit.__file__).parent
PACKAGES = ["portico.kit", *(f"portico.kit.{path.parent.name}" for path in sorted(PACKAGE.glob("[a-z]*/__init__.py")))]
LAZY = [name for name in PACKAGES if "lazy_exports" in Path(str(import_module(name).__file__)).read_text()]

PUBLIC = """
FOREVER AbortSaga Amount AnyCaller BadRequest Calls Client ClientInfo Clock Conditions Conflict ContentTooLarge Context
CurrencyCode Event EventId Forbidden FromService Identifier IntegerIdentifier InvalidCursor Keyset KnownCaller Line Moment Money NotFound
NumberedPage OnBehalf OneLine Page PreconditionFailed Principal Problem PublicRead Reader Reads Repository RequestClient Router Saga SagaState Schema
Seconds Secret Service ServiceContext ServiceSettings SignedIn Slice Socket Step StepPending Summary System TableRules
TooManyRequests Unauthorized Unavailable UndoReason UnitOfWork Unprocessable UserId Window Work consumes
get_logger hours identifier inject job minutes newest_first numbered_list permitted revision seconds
"""


class TestPorticoKit:
    def test_exports_exactly_the_public_names(self) -> None:
        assert portico.kit.__all__ == PUBLIC.split()

    def test_has_no_other_attribute(self) -> None:
        with pytest.raises(AttributeError, match=r"module 'portico\.kit' has no attribute 'Roter'"):
            _ = portico.kit.Roter

    def test_import_loads_no_library(self) -> None:
        code = "import sys, portico.kit.runtime.probe; print(*sys.modules)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert not {"fastapi", "pydantic", "sqlalchemy", "structlog", "starlette"}.intersection(run.stdout.split())


@pytest.mark.parametrize("name", LAZY)
class TestPackageWithLazyNames:
    def test_can_import_each_of_them(self, name: str) -> None:
        package = import_module(name)

        assert [each for each in package.__all__ if not hasattr(package, each)] == []

    def test_imports_the_same_names_for_type_checkers(self, name: str) -> None:
        tree = ast.parse(Path(str(import_module(name).__file__)).read_text())
        typed: dict[str, str] = {}
        lazy: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{name}."):
                module = str(node.module).removeprefix(f"{name}.")
                typed |= {each.name: module for each in node.names if each.name != "lazy_exports"}
            if isinstance(node, ast.Dict):
                for module, names in ast.literal_eval(node).items():
                    lazy |= dict.fromkeys(names.split(), module)

        assert lazy == typed
        assert sorted(lazy) == sorted(import_module(name).__all__)

    def test_has_no_module_with_the_name_of_an_export(self, name: str) -> None:
        folder = Path(str(import_module(name).__file__)).parent
        modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}

        assert modules.isdisjoint(import_module(name).__all__)
