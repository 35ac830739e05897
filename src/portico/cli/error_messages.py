"""Which of the errors that the floors below raise a user can mend, and how."""

from collections.abc import Sequence

from portico.kit.settings import SettingsError

Told = tuple[tuple[str, ...], str | None]


def mendable(error: Exception) -> Told | None:
    """What is wrong, in sentences, and what to do about it; None where the user can do nothing."""
    if isinstance(error, SettingsError):
        return error.messages, None
    # Imported late: settings that can't be read are told of without waiting for the rest.
    from portico.demo.errors import DemoFailed
    from portico.kit.calls.addresses import AddressError
    from portico.kit.data.migrations import NotMigrated
    from portico.kit.data.provisioning import DatabaseMissing
    from portico.kit.runtime.databases import DatabaseUnusable
    from portico.kit.runtime.serving import AddressRefused, PortTaken
    from portico.kit.runtime.system import NoSuchService
    from portico.kit.runtime.system_loader import NoSuchSystem
    from portico.kit.runtime.undeclared import Undeclared
    from portico.services.identity.errors import KeyDecryptionFailed

    match error:
        case PortTaken():
            told = _port_taken(error.host, error.port)
        case DatabaseUnusable() | DemoFailed():
            told = (error.problem,), error.advice
        case DatabaseMissing():
            told = _place_missing(error.name, error.statements)
        case NotMigrated():
            told = (_sentence(error),), "Run `portico migrate upgrade`, or start the service with --migrate."
        case AddressRefused():
            told = (_sentence(error),), "Choose another with --host and --port (HOST in the environment)."
        case NoSuchSystem() | NoSuchService() | Undeclared() | AddressError() | KeyDecryptionFailed():
            told = (_sentence(error),), None
        case _:
            return None
    return told


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"


def _port_taken(host: str, port: int) -> Told:
    listener = _listener(port)
    by = "another process" if listener is None else listener
    advice = (
        "Stop it, or choose other ports: --port (portico run), --port identity=9001 and --gateway-port (portico up), "
        "or --free-ports."
    )
    return (f"Port {port} on {host} is taken by {by}.",), advice


def _place_missing(name: str, statements: Sequence[str]) -> Told:
    advice = "\n  ".join(["Have an administrator run:", *statements])
    return (f"The {name} does not exist, and this account may not make it.",), advice


def _listener(port: int) -> str | None:
    """Who listens on `port`, as far as this account may know."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and getattr(connection.laddr, "port", None) == port
                and connection.pid
            ):
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    except psutil.Error:
        return None  # not ours to look at
    return None
