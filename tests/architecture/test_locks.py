import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["requirements.lock", "requirements-dev.lock"]
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\$")


def _pins(lock: str) -> dict[str, set[Version]]:
    """Return the versions of each package. There are several if they depend on the Python version."""
    pins: dict[str, set[Version]] = {}
    for line in (ROOT / lock).read_text().splitlines():
        if pin := PIN.match(line):
            pins.setdefault(canonicalize_name(pin["name"]), set()).add(Version(pin["version"]))
    return pins


def _requirements(lock: str) -> list[Requirement]:
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    extras = dict(project["optional-dependencies"])
    if lock == "requirements.lock":
        del extras["testing"]
    texts = [*project["dependencies"], *(text for extra in extras.values() for text in extra)]
    texts += groups["build"] + (groups["dev"] if lock == "requirements-dev.lock" else [])
    return [Requirement(text) for text in texts if isinstance(text, str)]


@pytest.mark.parametrize("lock", LOCKS)
class TestLockFile:
    def test_contains_every_requirement_within_its_bounds(self, lock: str) -> None:
        pins = _pins(lock)

        outside = [
            str(requirement)
            for requirement in _requirements(lock)
            if not (versions := pins.get(canonicalize_name(requirement.name)))
            or not all(requirement.specifier.contains(version, prereleases=True) for version in versions)
        ]

        assert outside == [], "the lock file does not match pyproject.toml: run `make lock`"

    def test_pins_every_package_by_hash(self, lock: str) -> None:
        unexpected = [
            line
            for line in (ROOT / lock).read_text().splitlines()
            if not PIN.match(line) and not re.match(r"^    (--hash=sha256:[0-9a-f]{64}( \\)?|# .*)$|^# |^    #$", line)
        ]

        assert unexpected == []

    def test_contains_no_paths_and_no_index(self, lock: str) -> None:
        text = (ROOT / lock).read_text()

        assert re.findall(r"\S*(?:://|find-links|index-url|file:)\S*| /\S+", text) == []


class TestBothLockFiles:
    def test_pin_the_same_versions(self) -> None:
        run_time, development = (_pins(lock) for lock in LOCKS)

        assert {name: development.get(name) for name in run_time} == run_time


class TestDevelopmentLock:
    def test_contains_what_benchmarks_import(self) -> None:
        pins, distributions = _pins("requirements-dev.lock"), packages_distributions()
        own = {*sys.stdlib_module_names, "portico", *(each.stem for each in (ROOT / "bench").iterdir())}

        missing = {
            f"{path.relative_to(ROOT)} imports {name}"
            for path in (ROOT / "bench").rglob("*.py")
            for name in _imported(path) - own
            if not any(canonicalize_name(each) in pins for each in distributions.get(name, [name]))
        }

        assert missing == set(), "add it to the development group of pyproject.toml, or do without it"


def _imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


class TestBuildGroup:
    def test_contains_the_build_requirements(self) -> None:
        assert set(PROJECT["dependency-groups"]["build"]) >= set(PROJECT["build-system"]["requires"])
