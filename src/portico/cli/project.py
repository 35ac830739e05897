"""The project in the working directory: a folder whose pyproject.toml names a system under `[tool.portico]`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from portico.kit.foundation.errors import CommandError

FILE = "pyproject.toml"


@dataclass(frozen=True)
class Project:
    """A project.

    Args:
        folder: the folder of its pyproject.toml.
        system: the import path of its system, such as `shop.systems:shop`.
    """

    folder: Path
    system: str

    @classmethod
    def at(cls, folder: Path) -> Self | None:
        """Return the project in `folder`, or None. Raises CommandError if its pyproject.toml cannot be used."""
        file = folder / FILE
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise CommandError(f"{file} cannot be read: {error}.", "Correct it, then run the command again.") from error
        table = document.get("tool", {}).get("portico")
        if table is None:
            return None
        system = table.get("system") if isinstance(table, dict) else None
        if not isinstance(system, str) or ":" not in system:
            raise CommandError(
                f"{file} has [tool.portico] without a system.", 'Add its import path: system = "shop.systems:shop".'
            )
        return cls(folder, system)

    @classmethod
    def here(cls) -> Self | None:
        """Return the project in the working directory, or None.

        Raises:
            CommandError: the working directory is a folder inside a project, or its pyproject.toml cannot be used.
        """
        folder = Path.cwd()
        if (found := cls.at(folder)) is not None:
            return found
        if above := next((each for each in folder.parents if cls.at(each) is not None), None):
            raise CommandError(f"The project is in {above}.", f"Run the command there: cd {above}")
        return None

    @property
    def module(self) -> str:
        """The module of the system, such as `shop.systems`."""
        return self.system.partition(":")[0]

    @property
    def package(self) -> str:
        """The project's package, such as `shop`."""
        return self.module.partition(".")[0]

    @property
    def variable(self) -> str:
        """The name of the system in its module."""
        return self.system.partition(":")[2]

    @property
    def source(self) -> Path:
        """The folder that Python imports the package from: `src`, or the project's folder."""
        inner = self.folder / "src"
        return inner if (inner / self.package).is_dir() else self.folder

    def path_of(self, module: str) -> Path:
        """Return the file of a module, which need not exist."""
        return self.source.joinpath(*module.split(".")).with_suffix(".py")
