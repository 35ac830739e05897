"""The origin of a process's settings: its environment and a `.env` file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from portico.kit.settings.fields import ServiceSettings
from portico.kit.settings.sources import read_settings

S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True)
class Environment:
    """Variables from which settings of any kind are read."""

    variables: Mapping[str, str] = field(default_factory=dict)
    dotenv_file: Path | None = None

    @classmethod
    def of_process(cls) -> Self:
        """Return this process's environment and the `.env` file of its working directory."""
        return cls(dict(os.environ), Path(".env"))

    def read(self, kind: type[S]) -> S:
        """Return the settings of this kind.

        Raises:
            SettingsError: the settings are invalid.
        """
        return read_settings(kind, environ=self.variables, dotenv_file=self.dotenv_file).value
