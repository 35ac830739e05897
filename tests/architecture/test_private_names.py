"""Private names of other people's libraries are used in `portico.kit._compat` alone."""

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "portico"
COMPAT = PACKAGE / "kit" / "_compat"

# Documented under these names: named tuples, and rows that behave like them.
DOCUMENTED = {"_asdict", "_fields", "_make", "_mapping", "_replace"}

# Their names have no underscore, but their libraries do not document them.
INTERNAL_MODULES = (
    "fastapi.dependencies",
    "nats.protocol",
    "sqlalchemy.connectors",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.sql.compiler",
    "sqlalchemy.util",
    "uvicorn.protocols",
    "uvicorn.server",
)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _is_internal(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in INTERNAL_MODULES)


class _Module:
    """The names of one module: what it imports, and what its classes define or inherit from."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.classes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]
        self.standard = set(self._standard_modules())

    def _standard_modules(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.asname or alias.name for alias in node.names if alias.name in sys.stdlib_module_names)

    def private_imports(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if _is_internal(alias.name) or any(map(_is_private, alias.name.split("."))):
                        yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("portico"):
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    if _is_internal(whole) or any(map(_is_private, whole.split("."))):
                        yield node.lineno, whole

    def defined(self) -> Iterator[str]:
        """Private names that the module gives to something: functions, classes, variables, fields, attributes of `self`."""
        for node in ast.walk(self.tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    yield name
                case ast.Name(id=name, ctx=ast.Store()):
                    yield name
                case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                    yield name

    def attributes(self) -> Iterator[tuple[int, str, str]]:
        """Return line, object and name of each private attribute that is used, also by `getattr`."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Attribute(value=owner, attr=name):
                    pass
                case ast.Call(
                    func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[owner, ast.Constant(value=str(name)), *_]
                ):
                    pass
                case _:
                    continue
            if _is_private(name) and ast.unparse(owner) not in self.standard:
                yield node.lineno, ast.unparse(owner), name


def uses_of_private_names(sources: Sequence[tuple[str, str]]) -> list[str]:
    """Return where a private name is used that none of the sources (name and text) defines.

    An attribute of `self` counts as defined if a class of the same module, or any base of it among the sources, defines it; an
    attribute of another object if its own module does.
    """
    modules = {name: _Module(text) for name, text in sources}
    inherited = _names_by_class(modules.values())
    found = []
    for name, module in modules.items():
        here = set(module.defined()) | DOCUMENTED
        for each in module.classes:
            here |= inherited.get(each.name, set())
        found += [f"{name}:{line} imports {what}" for line, what in module.private_imports()]
        found += [f"{name}:{line} {owner}.{what}" for line, owner, what in module.attributes() if what not in here]
    return found


def _names_by_class(modules: Sequence[_Module] | Iterator[_Module]) -> dict[str, set[str]]:
    """Return the private names that each class has of its own module and of its bases' modules."""
    own: dict[str, set[str]] = {}
    bases: dict[str, set[str]] = {}
    for module in modules:
        names = set(module.defined())
        for each in module.classes:
            own.setdefault(each.name, set()).update(names)
            bases.setdefault(each.name, set()).update(
                ast.unparse(base).split("[")[0].rpartition(".")[2] for base in each.bases
            )
    return {name: set().union(*(own.get(each, set()) for each in _ancestors(name, bases))) for name in own}


def _ancestors(name: str, bases: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = {name}
    while waiting:
        each = waiting.pop()
        found.add(each)
        waiting |= bases.get(each, set()) - found
    return found


class TestPrivateNamesOfLibraries:
    def test_are_used_in_compat_alone(self) -> None:
        sources = [
            (str(path.relative_to(PACKAGE)), path.read_text())
            for path in sorted(PACKAGE.rglob("*.py"))
            if not path.is_relative_to(COMPAT)
        ]

        assert uses_of_private_names(sources) == [], "move it to kit/_compat, or use the library's public API"


class TestTheCheck:
    """The test above would always pass if the check found nothing."""

    @pytest.mark.parametrize(
        "code",
        [
            "from fastapi._compat import ModelField",
            "from fastapi.routing import _merge_lifespan_context",
            "import fastapi._compat",
            "from fastapi.dependencies.utils import solve_dependencies",
            "from sqlalchemy.util import greenlet_spawn",
            "def size(statement): return statement._propagate_attrs",
            "def size(statement): return getattr(statement, '_propagate_attrs')",
            "class Mine(Connection):\n    def size(self): return self._tx.qsize()",
        ],
    )
    def test_finds(self, code: str) -> None:
        assert len(uses_of_private_names([("mine.py", code)])) == 1

    @pytest.mark.parametrize(
        "code",
        [
            "import os\nos._exit(1)",
            "from portico.kit._compat.fastapi import Dependant",
            "def size(row): return row._asdict()",
            "class Mine:\n    def __init__(self): self._size = 1\n    def size(self, other): return other._size",
        ],
    )
    def test_accepts(self, code: str) -> None:
        assert uses_of_private_names([("mine.py", code)]) == []

    def test_accepts_what_a_base_in_another_module_defines(self) -> None:
        base = ("base.py", "class Base:\n    def _size(self): ...")
        mine = ("mine.py", "class Mine(Base):\n    def size(self): return self._size()")

        assert uses_of_private_names([base, mine]) == []
