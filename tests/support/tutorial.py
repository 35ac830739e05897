"""The tutorial's commands and code, carried out as a reader would."""

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from portico.cli.scaffold.edits import Module
from portico.testing.commands import run_portico

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(?P<language>sh|python|json)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
EXECUTED = ("portico new ", "portico migrate new ")


Run = Callable[..., subprocess.CompletedProcess[str]]
"""Runs `portico` in a folder, with the arguments."""


def follow_tutorial(folder: Path, run: Run = run_portico) -> Path:
    """Create the tutorial's project in `folder`. Return the project's folder."""
    for block in BLOCK.finditer(PAGE.read_text("utf-8")):
        if block["language"] == "sh":
            folder = _run_commands(folder, block["text"], run)
        elif block["language"] == "python":
            _write_code(folder, block["text"])
        else:
            json.loads(block["text"])
    return folder


def _run_commands(folder: Path, text: str, run: Run) -> Path:
    for line in text.splitlines():
        if line.startswith("cd ") and (folder / line[3:]).is_dir() and line != "cd ..":
            folder /= line[3:]
        if line.startswith(EXECUTED):
            done = run(folder, *shlex.split(line)[1:])
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return folder


def _write_code(folder: Path, text: str) -> None:
    """Write a block as the file that its first line names, or add it to that file: imports at the top, code at the end."""
    first, _, code = text.partition("\n")
    path = folder / first.removeprefix("# ").removeprefix("add to ")
    if not first.startswith("# add to "):
        path.write_text(code, "utf-8")
        return
    statements = ast.parse(code).body
    module = Module(path.read_text("utf-8"), "shop")
    imports = [each for each in statements if isinstance(each, ast.ImportFrom)]
    for each in imports:
        module = module.with_import(str(each.module), *(name.name for name in each.names))
    rest = "".join(code.splitlines(keepends=True)[imports[-1].end_lineno if imports else 0 :])
    path.write_text(f"{module.text.rstrip()}\n\n\n{rest.strip()}\n", "utf-8")
