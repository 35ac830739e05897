"""`portico[testing]` is enough to import the test support: no other extra and no development dependency is needed."""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Imports every module of portico.testing, without the top-level modules named on standard input.
IMPORT_ALL = """
import importlib, json, pkgutil, sys

blocked = set(json.load(sys.stdin))

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import portico.testing

names = [module.name for module in pkgutil.iter_modules(portico.testing.__path__, "portico.testing.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


class TestImports:
    def test_need_only_the_testing_extra(self) -> None:
        installed = _distributions("portico", "testing")
        blocked = [
            module
            for module, names in importlib.metadata.packages_distributions().items()
            if module != "portico" and not installed & {canonicalize_name(name) for name in names}
        ]

        assert {"asyncmy", "aiormq", "aiokafka", "nats"} <= set(blocked)
        done = subprocess.run(
            [sys.executable, "-c", IMPORT_ALL],
            input=json.dumps(blocked),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 5


def _distributions(name: str, *extras: str) -> set[str]:
    """Return the distributions that installing `name` with `extras` installs."""
    found: set[str] = set()
    pending = [(canonicalize_name(name), extras)]
    visited = set()
    while pending:
        each = pending.pop()
        if each in visited:
            continue
        visited.add(each)
        found.add(each[0])
        pending += [(canonicalize_name(needed.name), tuple(sorted(needed.extras))) for needed in _required(*each)]
    return found


def _required(name: str, extras: tuple[str, ...]) -> Iterator[Requirement]:
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:  # needed on another platform only
        return
    for line in lines:
        requirement = Requirement(line)
        environments = [{"extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
            yield requirement
