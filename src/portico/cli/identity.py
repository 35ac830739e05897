"""The identity service, opened for one command."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from portico.cli.banner import new_administrator, print_administrator
from portico.cli.environment import find_chosen_system, logs_on_stderr
from portico.contracts.token_verification import ISSUER, has_identity
from portico.kit.foundation.errors import CommandError
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.settings import Environment, Settings, check_server_passwords
from portico.systems.composition import Composition


@asynccontextmanager
async def open_identity(
    system: str | None, variables: Mapping[str, str] | None = None
) -> AsyncIterator[ServiceRuntime]:
    """Open the identity service of `system` on its database without serving it; it may run elsewhere at the same time.

    Args:
        system: the system; None for the one in PORTICO_SYSTEM.
        variables: settings used where the environment has none.

    Raises:
        CommandError: the system has no identity service.
        NotMigrated, DatabaseUnusable, SettingsError: it cannot be opened.
    """
    process = Environment.of_process()
    environment = Environment({**(variables or {}), **process.variables}, process.dotenv_file)
    settings = environment.read(Settings)
    found = find_chosen_system(system, settings)
    if not has_identity(found):
        raise CommandError(f"The system {found.name} has no identity service.", "Name another system with --system.")
    check_server_passwords(settings)
    name = found.placement(ISSUER).name
    composing = Composition(found, environment, parts=[name], background=False, migrating="require")
    with logs_on_stderr(settings):
        async with composing as composition:
            administrator = new_administrator(composition)
            if administrator is not None and administrator.password is not None:
                print_administrator(administrator)
            yield composition.contexts[name]
