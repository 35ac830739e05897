import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class TestMakeUp:
    @pytest.fixture
    def old_python(self, tmp_path: Path) -> Path:
        """A program that is Python 3.9 as far as the Makefile can tell."""
        program = tmp_path / "old-python"
        program.write_text('#!/bin/sh\n[ "$1" = --version ] || exit 1\necho Python 3.9.2\n')
        program.chmod(0o755)
        return program

    def _run(self, python: str, folder: Path) -> str:
        command = ["make", "-C", str(ROOT), "up", f"PYTHON={python}", f"VENV={folder / 'venv'}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode != 0
        return ran.stderr.splitlines()[0]

    def test_without_python_says_so(self, tmp_path: Path) -> None:
        assert self._run("python9.9", tmp_path) == (
            "python9.9 is not installed. Portico needs Python 3.11 or newer. "
            "Install it, or choose another one: make PYTHON=python3.12 up"
        )

    def test_with_an_old_python_names_its_version(self, tmp_path: Path, old_python: Path) -> None:
        assert self._run(str(old_python), tmp_path) == (
            f"Portico needs Python 3.11 or newer; {old_python} is Python 3.9.2. "
            "Choose another one: make PYTHON=python3.12 up"
        )
