"""Rules of design and style for every file of the package that ruff, mypy and import-linter do not have."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "portico"
FILE_LINES = 350
FUNCTION_LINES = 45

# These names do not say what a module contains.
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "impl"}

SECTIONS = {"Args:", "Attributes:", "Raises:", "Returns:"}  # of a docstring

# A service's files by role; any other file is named after the thing that it holds.
FORBIDDEN_FILES = {"commands.py", "endpoints.py", "handlers.py", "queries.py", "resources.py"}
FORBIDDEN_IMPORTS = {
    "api.py": {"sqlalchemy"},
    "service.py": {"fastapi", "starlette", "sqlalchemy"},
    "domain.py": {"fastapi", "starlette", "sqlalchemy"},
    "models.py": {"fastapi", "starlette"},
    "repository.py": {"fastapi", "starlette"},
}


def _sources() -> list[Path]:
    """Return every module except migrations, whose functions are as long as their tables."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "versions" not in path.parts]


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            yield node


class TestSizes:
    def test_no_file_is_long(self) -> None:
        lengths = {_named(path): len(path.read_text().splitlines()) for path in _sources()}

        assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}

    def test_no_function_is_long(self) -> None:
        lengths = {
            f"{_named(path)}:{function.lineno} {function.name}": function.end_lineno - function.lineno + 1
            for path in _sources()
            for function in _functions(path)
            if function.end_lineno is not None
        }

        assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


class TestNames:
    def test_no_module_has_a_vague_name(self) -> None:
        modules = [path for path in PACKAGE.rglob("*") if path.suffix == ".py" or path.is_dir()]

        assert [_named(path) for path in modules if VAGUE & set(path.stem.split("_"))] == []

    def test_no_class_has_a_vague_name(self) -> None:
        names = [f"{_named(path)} {node.name}" for path in _sources() for node in _classes(path)]

        assert [name for name in names if VAGUE & {word.lower() for word in re.findall("[A-Z][a-z]+", name)}] == []


class TestDocstrings:
    def test_indent_the_items_of_a_section_by_four(self) -> None:
        found = [
            f"{_named(path)}:{number}"
            for path in _sources()
            for lines in [path.read_text().splitlines()]
            for node in [*_functions(path), *_classes(path)]
            for number in _wrongly_indented_items(lines, node)
        ]

        assert found == []


def _wrongly_indented_items(
    lines: list[str], node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
) -> Iterator[int]:
    """Yield the number of each line that follows `Args:` and the like in a docstring with another indentation."""
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return
    for number in range(first.lineno, first.end_lineno or first.lineno):
        header, item = lines[number - 1], lines[number]
        if header.strip() in SECTIONS and not re.match(rf" {{{first.col_offset + 4}}}\S", item):
            yield number + 1


class TestServices:
    def test_name_files_by_their_role_or_by_what_they_hold(self) -> None:
        assert [_named(path) for path in _service_files() if path.name in FORBIDDEN_FILES] == []

    def test_import_only_what_a_file_of_that_role_may(self) -> None:
        violations = [
            f"{_named(path)} imports {library}"
            for path in _service_files()
            for library in sorted(FORBIDDEN_IMPORTS.get(path.name, set()) & _imported_libraries(path))
        ]

        assert violations == []


def _service_files() -> list[Path]:
    services = PACKAGE / "services"
    return [path for path in sorted(services.rglob("*.py")) if "migrations" not in path.parts]


def _imported_libraries(path: Path) -> set[str]:
    """Return the top-level names of the libraries that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


class TestRuffExceptions:
    def test_have_a_reason_in_the_configuration(self) -> None:
        lines = (ROOT / "pyproject.toml").read_text().partition("[tool.ruff.lint]")[2].splitlines()

        codes = [line.strip() for line in lines if re.search(r'"[A-Z]{1,6}\d*"[],]', line) and '["ALL"]' not in line]

        assert codes
        assert [line for line in codes if not re.search(r"# \w", line)] == []

    def test_have_a_reason_in_the_code(self) -> None:
        bare = re.compile(r"# noqa(?!.*[a-z]{2})")
        files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]

        without = [
            f"{_named(path)}:{number}"
            for path in files
            if path != Path(__file__)
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if bare.search(line)
        ]

        assert without == [], "add a reason: `# noqa: S608  # a constant of the test`"
