"""Importing does nothing: engines, clients, threads and tasks are born in the host's lifespan."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "portico"
PACKAGE_DEPTH = 2  # dots in `portico.kit.auth`

# Imports each module named on standard input, and prints what any of them did meanwhile. What a library does as it is
# imported is its own affair: between its frame and ours lies the import system's.
WATCH = """
import importlib, json, sys, threading

from pydantic import create_model

package, modules = json.load(sys.stdin)
watched = ("open", "socket.", "subprocess.", "thread", "sqlite3.connect", "os.mkdir", "os.listdir")
deeds = []

def blame():
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
        if place := blame():
            deeds.append(f"{place} {event} {arguments!r:.100}")

create_model("First")  # pydantic looks for its plugins when the first model of a process is made
start = threading.Thread.start
threading.Thread.start = lambda self: (sys.audit("thread", self.name), start(self))[1]  # Python tells the hook from 3.12
sys.addaudithook(hook)
for module in modules:
    importlib.import_module(module)
json.dump(deeds, sys.stdout)
"""


def _modules() -> list[str]:
    """Every module but those that are programs: Alembic's, and what `python -m` runs."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "migrations" not in parts and parts[-1] != "__main__":
            found.append(".".join(parts).removesuffix(".__init__"))
    return found


def _deeds(package: Path, modules: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WATCH],
        input=json.dumps([str(package), modules]),
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    deeds: list[str] = json.loads(done.stdout)
    return deeds


class TestImportingPortico:
    def test_does_nothing(self) -> None:
        assert _deeds(PACKAGE, _modules()) == []


class TestTheWatch:
    """The test above would pass for ever if the watch saw nothing."""

    @pytest.mark.parametrize(
        "deed",
        [
            "import socket; socket.socket().close()",
            "import threading; threading.Thread(target=print).start()",
            "open('/etc/hosts').close()",
            "import subprocess; subprocess.run(['true'])",
            "import sqlite3; sqlite3.connect(':memory:').close()",
        ],
    )
    def test_sees(self, deed: str, tmp_path: Path) -> None:
        package = tmp_path / "busy"
        package.mkdir()
        (package / "__init__.py").write_text(deed)

        assert _deeds(package, ["busy"]) != []


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
