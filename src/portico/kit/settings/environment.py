"""Where settings are read from: the process's environment, and a `.env` file that it overrules."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from portico.kit.settings import ServiceSettings, read_settings

S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True)
class Environment:
    """What settings are read from. Each kind of settings reads what concerns it."""

    variables: Mapping[str, str] = field(default_factory=dict)
    dotenv_file: Path | None = None

    @classmethod
    def of_process(cls) -> Self:
        """This process's environment and the `.env` of its working folder."""
        return cls(dict(os.environ), Path(".env"))

    def read(self, kind: type[S]) -> S:
        """The settings of this kind. Raises SettingsError."""
        return read_settings(kind, environ=self.variables, dotenv_file=self.dotenv_file).value
