"""Identity, opened for one command."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from portico.cli.banner import administrator_made, show_administrator
from portico.cli.errors import CommandError
from portico.cli.ports import chosen_system
from portico.contracts.token_verification import ISSUER, has_identity
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.settings import Environment, Settings, check_server_passwords
from portico.systems.composition import Composition


@asynccontextmanager
async def open_identity(
    system: str | None, variables: Mapping[str, str] | None = None
) -> AsyncIterator[ServiceRuntime]:
    """The identity service of `system` on its database, serving nobody; it may serve elsewhere meanwhile.

    Args:
        system: the system; the one that PORTICO_SYSTEM names if None.
        variables: what the environment says besides, where it does not say so itself.

    Raises:
        CommandError: the system has no identity service.
        NotMigrated, DatabaseUnusable, SettingsError: it can't be opened.
    """
    process = Environment.of_process()
    environment = Environment({**(variables or {}), **process.variables}, process.dotenv_file)
    settings = environment.read(Settings)
    found = chosen_system(system, settings)
    if not has_identity(found):
        raise CommandError(f"The system {found.name} has no identity service.", "Name another with --system.")
    check_server_passwords(settings)
    name = found.placement(ISSUER).name
    async with Composition(found, environment, parts=[name], background=False, migrating="require") as whole:
        made = administrator_made(whole)
        if made is not None and made.password is not None:
            show_administrator(made)
        yield whole.contexts[name]
