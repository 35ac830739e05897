"""Importing has no side effects: engines, clients, threads and tasks are created in the host's lifespan."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "portico"
PACKAGE_DEPTH = 2  # dots in `portico.kit.auth`

# Import each module named on standard input and print its side effects. Side effects of a library's own import are
# ignored: there is a frame of the import system between its frame and ours.
AUDIT = """
import importlib, json, sys, threading

from pydantic import create_model

package, modules = json.load(sys.stdin)
watched = ("open", "socket.", "subprocess.", "thread", "sqlite3.connect", "os.mkdir", "os.listdir")
side_effects = []

def importing_module():
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return None
        if name.startswith(package):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back

def hook(event, arguments):
    if event.startswith(watched) and not (event == "open" and str(arguments[0]).startswith(package)):
        if place := importing_module():
            side_effects.append(f"{place} {event} {arguments!r:.100}")

create_model("First")  # pydantic loads its plugins when a process creates its first model
start = threading.Thread.start
threading.Thread.start = lambda self: (sys.audit("thread", self.name), start(self))[1]  # Python raises this audit event since 3.12
sys.addaudithook(hook)
for module in modules:
    importlib.import_module(module)
json.dump(side_effects, sys.stdout)
"""


def _modules() -> list[str]:
    """Return every module except migrations and `__main__` modules."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "migrations" not in parts and parts[-1] != "__main__":
            found.append(".".join(parts).removesuffix(".__init__"))
    return found


def _side_effects(package: Path, modules: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", AUDIT],
        input=json.dumps([str(package), modules]),
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    side_effects: list[str] = json.loads(done.stdout)
    return side_effects


class TestImports:
    def test_have_no_side_effects(self) -> None:
        assert _side_effects(PACKAGE, _modules()) == []


class TestAuditHook:
    """The test above would always pass if the audit hook detected nothing."""

    @pytest.mark.parametrize(
        "side_effect",
        [
            "import socket; socket.socket().close()",
            "import threading; threading.Thread(target=print).start()",
            "open('/etc/hosts').close()",
            "import subprocess; subprocess.run(['true'])",
            "import sqlite3; sqlite3.connect(':memory:').close()",
        ],
    )
    def test_detects(self, side_effect: str, tmp_path: Path) -> None:
        package = tmp_path / "busy"
        package.mkdir()
        (package / "__init__.py").write_text(side_effect)

        assert _side_effects(package, ["busy"]) != []


class TestServicesAndContracts:
    def test_import_packages_of_the_kit_and_never_their_modules(self) -> None:
        inner = [
            f"{path.relative_to(PACKAGE)}:{node.lineno} {node.module}"
            for folder in ("services", "contracts")
            for path in sorted((PACKAGE / folder).rglob("*.py"))
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            and str(node.module).startswith("portico.kit.")
            and str(node.module).count(".") > PACKAGE_DEPTH
        ]

        assert inner == [], "import from `portico.kit` or `portico.kit.<package>`"
