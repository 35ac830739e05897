"""Messages for errors of lower layers that the user can fix."""

import traceback
from collections.abc import Sequence
from pathlib import Path

from portico.kit.settings import SettingsError

_PORTICO = Path(__file__).parents[1]

Message = tuple[tuple[str, ...], str | None]


def user_message(error: Exception) -> Message | None:
    """Return what is wrong, in sentences, and what to do about it; None if the user cannot fix the error."""
    if isinstance(error, SettingsError):
        return error.messages, None
    # Imported here, so that an error in the settings is printed without the delay of these imports.
    from portico.demo.errors import DemoFailed
    from portico.drill.errors import DrillFailed
    from portico.kit.calls.addresses import AddressError
    from portico.kit.data.migrations import NotMigrated
    from portico.kit.data.provisioning import DatabaseMissing
    from portico.kit.runtime.databases import DatabaseUnusable
    from portico.kit.runtime.serving import AddressRefused, PortTaken
    from portico.kit.runtime.system import NoSuchService
    from portico.kit.runtime.system_loader import NoSuchSystem
    from portico.kit.runtime.undeclared import Undeclared
    from portico.services.identity.errors import KeyDecryptionFailed

    message: Message | None = None
    match error:
        case PortTaken():
            message = _port_taken(error.host, error.port)
        case DatabaseUnusable() | DemoFailed() | DrillFailed():
            message = (error.problem,), error.advice
        case DatabaseMissing():
            message = _database_missing(error.name, error.statements)
        case NotMigrated():
            message = (_sentence(error),), "Run `portico migrate upgrade`, or start the service with --migrate."
        case AddressRefused():
            message = (_sentence(error),), "Choose another with --host and --port (HOST in the environment)."
        case NoSuchSystem() | NoSuchService() | Undeclared() | AddressError() | KeyDecryptionFailed():
            message = (_sentence(error),), None
        case _:
            message = _error_in_project(error)
    return message


def _error_in_project(error: Exception) -> Message | None:
    """Return where code in the working directory failed; None if no such code is involved."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    if isinstance(error, SyntaxError) and error.filename is not None:
        places.append((error.filename, error.lineno))
    own = [(path, line) for file, line in places if (path := _path_in_project(file)) is not None]
    if not own:
        return None
    path, line = own[-1]
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return (f"{path}, line {line}: {type(error).__name__}: {reason}",), "DEBUG=1 prints the traceback."


def _path_in_project(file: str) -> Path | None:
    """Return the path relative to the working directory; None for code of Portico, of libraries or from elsewhere."""
    path, here = Path(file), Path.cwd()
    if not path.is_relative_to(here) or path.is_relative_to(_PORTICO) or "site-packages" in path.parts:
        return None
    return path.relative_to(here)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"


def _port_taken(host: str, port: int) -> Message:
    process = _listening_process(port) or "another process"
    advice = (
        "Stop it, or choose other ports: --port (portico run), --port identity=9001 and --gateway-port (portico up), "
        "or --free-ports."
    )
    return (f"Port {port} on {host} is taken by {process}.",), advice


def _database_missing(name: str, statements: Sequence[str]) -> Message:
    advice = "\n  ".join(["Have an administrator run:", *statements])
    return (f"The {name} does not exist, and this account may not create it.",), advice


def _listening_process(port: int) -> str | None:
    """Return the process that listens on `port`; None if this account may not see it."""
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
        return None
    return None
