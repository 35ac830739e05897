"""The files that a command creates and edits: checked first, then written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from portico.cli.scaffold.edits import EditRefused, Module
from portico.kit.foundation.errors import CommandError


@dataclass(frozen=True)
class Changes:
    """What a command writes. Nothing is written before `write`.

    Args:
        folder: the project's folder, against which paths are shown.
        package: the project's package.
    """

    folder: Path
    package: str
    _created: dict[Path, str] = field(default_factory=dict)
    _edited: dict[Path, str] = field(default_factory=dict)

    def create(self, path: Path, text: str) -> None:
        """Plan a new file. Raises CommandError if it exists."""
        if path.exists():
            raise CommandError(f"{self._shown(path)} exists already.", "Choose another name, or remove it first.")
        self._created[path] = text

    def create_missing(self, path: Path, text: str) -> None:
        """Plan a new file, unless it exists."""
        if not path.exists():
            self.create(path, text)

    def edit(self, path: Path, change: Callable[[Module], Module], *, by_hand: str) -> None:
        """Plan an edit of a module.

        Args:
            path: the module's file.
            change: returns the edited module.
            by_hand: the lines that the user adds if the file is not written as expected.

        Raises:
            CommandError: the file is missing, is not valid Python, or is not written as expected.
        """
        try:
            module = Module(path.read_text("utf-8"), self.package)
            self._edited[path] = change(module).text
        except FileNotFoundError as error:
            raise CommandError(f"{self._shown(path)} is missing.", "Restore it, then run the command again.") from error
        except SyntaxError as error:
            raise CommandError(
                f"{self._shown(path)} is not valid Python: {error.msg}, line {error.lineno}.", "Correct it first."
            ) from error
        except EditRefused as error:
            raise CommandError(
                f"{self._shown(path)} cannot be edited: {error}.", f"Rewrite it so that it has a place for:\n{by_hand}"
            ) from error

    def write(self) -> list[str]:
        """Write everything. Return a line for each file."""
        for path, text in self._created.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        for path, text in self._edited.items():
            path.write_text(text, "utf-8")
        lines = dict.fromkeys(self._created, "created") | dict.fromkeys(self._edited, "changed")
        return [f"{done} {self._shown(path)}" for path, done in lines.items()]

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.folder))
