"""The tables of docs/configuration.md: `python -m portico.cli.reference FILE` generates them from the settings."""

import sys
from pathlib import Path

from portico.kit.settings import ServiceSettings, Settings, read_settings

BEGIN = "<!-- made by `make generate` from here on -->"


def with_tables(page: str) -> str:
    """Return `page` with current tables after the mark."""
    return f"{page.partition(BEGIN)[0]}{BEGIN}\n\n{_tables()}"


def _tables() -> str:
    from portico.kit.runtime.shipped_systems import shipped_systems
    from portico.kit.runtime.system_loader import find_system

    parts = ["## Every process\n", _table(Settings)]
    for service in dict.fromkeys(each for name in shipped_systems() for each in find_system(name).services):
        if service.settings is not None:
            parts += [f"\n## {service.name.capitalize()}\n", _table(service.settings)]
    return "\n".join(parts) + "\n"


def _table(kind: type[ServiceSettings]) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for setting in read_settings(kind, environ={}).entries():
        meaning = setting.description.replace("|", "\\|")
        rows.append(f"| `{setting.variable}` | {_format(setting.value)} | {meaning} |")
    return "\n".join(rows)


def _format(value: object) -> str:
    if value is None or value in ([], {}, ()):
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, list | tuple):
        return "`" + ",".join(map(str, value)) + "`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main() -> None:
    """Rewrite the file that the first argument names."""
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
