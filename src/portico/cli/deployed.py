"""The files of `portico export` that are in the repository: `python -m portico.cli.deployed deploy`."""

import sys
from pathlib import Path

from portico.cli.fronts import ENDINGS, configuration, file_name
from portico.gateway.export import ExportOptions
from portico.kit.runtime.system_loader import find_system, shipped_systems
from portico.kit.settings import Settings, read_settings


def deployed() -> dict[str, str]:
    """By path, what `portico export` says of each system where nothing is set."""
    settings = read_settings(Settings, environ={}).value
    return {
        f"{proxy}/{file_name(proxy, system)}": configuration(
            proxy, system, settings, ExportOptions((f"127.0.0.1:{system.gateway}",))
        )
        for system in map(find_system, shipped_systems())
        for proxy in ENDINGS
    }


def main() -> None:
    """Write them to the folder that the command line names."""
    for name, text in deployed().items():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
