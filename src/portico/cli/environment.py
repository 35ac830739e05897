"""The settings that a command runs with."""

import os
from pathlib import Path
from typing import TypeVar

from portico.kit.settings import LoadedSettings, ServiceSettings, Settings, read_settings

S = TypeVar("S", bound=ServiceSettings)


def read_environment(kind: type[S]) -> LoadedSettings[S]:
    """Settings of `kind` from this process's environment and the `.env` of the working folder.

    Raises:
        SettingsError: they can't be used.
    """
    return read_settings(kind, environ=os.environ, dotenv_file=Path(".env"))


def current_settings() -> Settings:
    """What every command goes by.

    Raises:
        SettingsError: the settings can't be used.
    """
    return read_environment(Settings).value
