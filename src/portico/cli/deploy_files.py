"""The files in `deploy/`: `python -m portico.cli.deploy_files deploy` writes them."""

import sys
from pathlib import Path

from portico.cli.export import EXTENSIONS, configuration, file_name
from portico.gateway.export import ExportOptions
from portico.kit.runtime.system_loader import find_system, shipped_systems
from portico.kit.settings import Settings, read_settings


def deploy_files() -> dict[str, str]:
    """Return what `portico export` prints for each system with default settings, by path."""
    settings = read_settings(Settings, environ={}).value
    return {
        f"{proxy}/{file_name(proxy, system)}": configuration(
            proxy, system, settings, ExportOptions((f"127.0.0.1:{system.gateway}",))
        )
        for system in map(find_system, shipped_systems())
        for proxy in EXTENSIONS
    }


def main() -> None:
    """Write the files to the folder that the first argument names."""
    for name, text in deploy_files().items():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
