"""What a person reads when a system has come up."""

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
    """The administrator that this start made; `password` where it was made up."""

    email: str
    password: str | None


def administrator_made(whole: "Composition") -> NewAdministrator | None:
    """The first administrator, where starting `whole` made one."""
    from portico.services.identity.users.first_administrator import FirstAdministrator

    for context in whole.contexts.values():
        first = context.provided.get(FirstAdministrator)
        if isinstance(first, FirstAdministrator) and first.email is not None:
            return NewAdministrator(first.email, first.password)
    return None


def show_system(system: System, settings: Settings, administrator: NewAdministrator | None) -> None:
    """Print where everything is, and how to stop it."""
    from rich.console import Console
    from rich.text import Text

    from portico import __version__

    console = Console(stderr=True, highlight=False)
    console.print()
    console.print(
        Text.assemble(("Portico", "bold"), f" {__version__} · ", (system.name, "bold"), f": {system.summary}")
    )
    console.print()
    console.print(_addresses(system, settings))
    console.print()
    console.print(f"Documentation of the whole: {local_address(settings.host, system.gateway)}/docs", soft_wrap=True)
    for what, where in _servers(settings):
        console.print(f"{what}: {where}", soft_wrap=True)
    show_administrator(administrator)
    console.print("Ctrl-C stops it.\n", style="dim")


def show_administrator(administrator: NewAdministrator | None) -> None:
    """Print who the first administrator is; a password that was made up is shown this once."""
    from rich.console import Console
    from rich.text import Text

    if administrator is None:
        return
    console = Console(stderr=True, highlight=False)
    line = Text.assemble("First administrator: ", (administrator.email, "bold"))
    if administrator.password is not None:
        line.append("  password: ").append(administrator.password, "bold yellow").append("  (shown only this once)")
    console.print(line, soft_wrap=True)


def _addresses(system: System, settings: Settings) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 2))
    table.add_column(style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(style="dim")
    table.add_row("gateway", local_address(settings.host, system.gateway), "the one way in")
    for each in system.placements:
        table.add_row(each.name, local_address(settings.host, each.port), each.service.summary)
    return table


def _servers(settings: Settings) -> list[tuple[str, str]]:
    """What is kept where; of caches and events nothing where they are embedded."""
    found = [("Data", mask_url(settings.database_url or "") or f"SQLite files in {settings.data_dir.absolute()}")]
    if settings.redis_url is not None:
        found.append(("Caches and limits", mask_url(settings.redis_url)))
    if (broker := named_broker(settings)) is not None:
        found.append(("Events", mask_url(getattr(settings, broker))))
    return found
