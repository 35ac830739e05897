"""The origin of a process's settings: its environment and a `.env` file."""

import difflib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from portico.kit.settings.fields import ServiceSettings
from portico.kit.settings.sources import read_dotenv, read_settings

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

    def misspelt(self, known: Collection[str]) -> list[str]:
        """Return a warning for each variable whose name is not `known`, but close to a known one.

        Other unknown variables are ignored: the environment and `.env` may belong to other programs too.

        Raises:
            SettingsError: `.env` cannot be read.
        """
        origins = dict.fromkeys(self.variables, "environment") | dict.fromkeys(read_dotenv(self.dotenv_file), ".env")
        return [
            f"{name} ({origin}) is not a setting and is ignored. Did you mean {close}?"
            for name, origin in origins.items()
            if name not in known and (close := _close_to(name.upper(), known)) is not None
        ]


_SHORT = 8  # characters: HOST and POST differ by one, and are different words


def _close_to(name: str, known: Collection[str]) -> str | None:
    """Return the known name that `name` equals apart from one or two misspelt letters."""
    for close in difflib.get_close_matches(name, known, 1, cutoff=0.85):
        similarity = difflib.SequenceMatcher(None, name, close).ratio()
        differing = round((1 - similarity) * (len(name) + len(close)))  # a replaced letter counts twice
        if differing <= (1 if len(close) < _SHORT else 2 if len(close) < 2 * _SHORT else 4):
            return close
    return None
