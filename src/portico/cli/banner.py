"""What a command prints when a system is ready."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.kit.messaging.brokers.factory import named_broker
from portico.kit.runtime.serving import local_address
from portico.kit.runtime.system import System
from portico.kit.settings import Settings, mask_url

if TYPE_CHECKING:
    from rich.table import Table

    from portico.systems.composition import Composition


@dataclass(frozen=True)
class NewAdministrator:
    """The administrator that this start created; `password` is set if it was generated."""

    email: str
    password: str | None


def new_administrator(composition: "Composition") -> NewAdministrator | None:
    """Return the first administrator if starting `composition` created one."""
    from portico.services.identity.users.first_administrator import FirstAdministrator

    for context in composition.contexts.values():
        first = context.resources.get(FirstAdministrator)
        if isinstance(first, FirstAdministrator) and first.email is not None:
            return NewAdministrator(first.email, first.password)
    return None


def print_system(system: System, settings: Settings, administrator: NewAdministrator | None) -> None:
    """Print the address of each part, the servers in use, and how to stop the system."""
    from rich.console import Console
    from rich.text import Text

    from portico import __version__

    console = Console(stderr=True, highlight=False)
    console.print()
    console.print(
        Text.assemble(("Portico", "bold"), f" {__version__} · ", (system.name, "bold"), f": {system.summary}")
    )
    console.print()
    console.print(_address_table(system, settings))
    console.print()
    console.print(
        f"API documentation: {local_address(settings.host, system.gateway, settings.gateway_scheme)}/docs",
        soft_wrap=True,
    )
    for what, where in _servers(settings):
        console.print(f"{what}: {where}", soft_wrap=True)
    print_administrator(administrator)
    console.print("Ctrl-C stops it.\n", style="dim")


def print_administrator(administrator: NewAdministrator | None) -> None:
    """Print the first administrator's email, and a generated password this one time."""
    from rich.console import Console
    from rich.text import Text

    if administrator is None:
        return
    console = Console(stderr=True, highlight=False)
    line = Text.assemble("First administrator: ", (administrator.email, "bold"))
    if administrator.password is not None:
        line.append("  password: ").append(administrator.password, "bold yellow").append("  (shown only this once)")
    console.print(line, soft_wrap=True)


def _address_table(system: System, settings: Settings) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 2))
    table.add_column(style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(style="dim")
    table.add_row(
        "gateway", local_address(settings.host, system.gateway, settings.gateway_scheme), "The entrance to all services"
    )
    for each in system.placements:
        table.add_row(each.name, local_address(settings.host, each.port), each.service.summary)
    return table


def _servers(settings: Settings) -> list[tuple[str, str]]:
    """Return the stores in use; embedded caches and brokers are left out."""
    found = [("Data", mask_url(settings.database_url or "") or f"SQLite files in {settings.data_dir.absolute()}")]
    if settings.redis_url is not None:
        found.append(("Caches and limits", mask_url(settings.redis_url)))
    if (broker := named_broker(settings)) is not None:
        found.append(("Events", mask_url(getattr(settings, broker))))
    return found
