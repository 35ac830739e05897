"""Portico as a stranger has it: its wheel in a fresh virtual environment, without its sources and configuration."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portico.testing.commands import Command

ROOT = Path(__file__).parents[2]
TIMEOUT = 600.0  # seconds


@dataclass(frozen=True)
class Stranger:
    """A virtual environment with Portico.

    Args:
        bin: its folder of programs.
    """

    bin: Path

    @classmethod
    def arriving(cls, folder: Path) -> "Stranger":
        """Build the wheel and install it into a new environment in `folder`, without network access.

        Libraries come from this Python's environment. Its own installation of Portico is not visible: a `.pth` file adds
        the folder of the libraries, but does not read the `.pth` files in it.
        """
        _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder], ROOT)
        [wheel] = folder.glob("portico-*.whl")
        environment = folder / "env"
        venv.create(environment, symlinks=True)
        stranger = cls(environment / "bin")
        paths = {"base": str(environment), "platbase": str(environment)}
        libraries = Path(sysconfig.get_path("purelib", "venv", paths))
        (libraries / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
        pip = [sys.executable, "-m", "pip", "--python", stranger.python]
        _run([*pip, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel], folder)
        (stranger.bin / "ruff").symlink_to(Path(sys.executable).with_name("ruff"))  # where its module looks for it
        return stranger

    @property
    def python(self) -> Path:
        return self.bin / "python"

    def run(self, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a module of the environment as a program in `folder`, as after `. env/bin/activate`."""
        return subprocess.run(
            [self.python, "-m", *command],
            cwd=folder,
            env={**self.variables, "HOME": str(folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

    def start(self, folder: Path, *arguments: str, variables: Mapping[str, str]) -> Command:
        """Start a `portico` command."""
        return Command(folder, *arguments, variables={**self.variables, **variables}, python=self.python)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables, without paths to Portico's sources."""
        return {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "", "PYTHONUTF8": "1"}


def _run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
