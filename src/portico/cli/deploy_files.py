"""The files in `deploy/`: `python -m portico.cli.deploy_files deploy` writes them."""

import sys
from pathlib import Path

from portico.cli.export import EXTENSIONS, configuration, direct_configuration, file_name, monitoring_files
from portico.gateway.export import ExportOptions
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import Settings, read_settings


def deploy_files() -> dict[str, str]:
    """Return what `portico export` prints for each system with default settings, by path."""
    settings = read_settings(Settings, environ={}).value
    systems = [find_system(name) for name in shipped_systems()]
    proxies = {
        f"{proxy}/{file_name(proxy, system)}": configuration(
            proxy, system, settings, ExportOptions((f"127.0.0.1:{system.gateway}",))
        )
        for system in systems
        for proxy in EXTENSIONS
    }
    direct = {
        f"nginx-direct/{file_name('nginx', system)}": direct_configuration(system, settings, ExportOptions(()))
        for system in systems
    }
    return (
        proxies
        | direct
        | {f"observability/{name}": text for system in systems for name, text in monitoring_files(system).items()}
    )


def main() -> None:
    """Write the files to the folder that the first argument names."""
    for name, text in deploy_files().items():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
