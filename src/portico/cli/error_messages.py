"""Messages for errors of lower layers that the user can fix."""

import errno
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from portico.kit.settings import SettingsError

_PORTICO = Path(__file__).parents[1]
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_FILE_ERRORS = {
    errno.ENOSPC: "Free space on that disk, or use a directory on another one.",
    errno.EDQUOT: "Free space within the quota, or use another directory.",
    errno.EROFS: "Use a directory on a file system that can be written.",
    errno.EACCES: "Make it accessible for this account, or use another directory.",
    errno.EPERM: "Make it accessible for this account, or use another directory.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Raise the limit of open files of the system.",
}
"""What to do about errors of the operating system that are not faults of Portico."""

_OTHER_SYSTEM = (
    "For a service of another system, run the command in the folder of its project, or name the system: "
    "--system shop.systems:shop (PORTICO_SYSTEM in the environment)."
)

Message = tuple[tuple[str, ...], str | None]


def user_message(error: Exception) -> Message | None:
    """Return what is wrong, in sentences, and what to do about it; None if the user cannot fix the error."""
    if isinstance(error, SettingsError):
        return error.messages, None
    # Imported here, so that an error in the settings is printed without the delay of these imports.
    from portico.kit.calls.addresses import AddressError
    from portico.kit.data.migrations import NotMigrated
    from portico.kit.data.provisioning import DatabaseMissing
    from portico.kit.runtime.databases import DatabaseUnusable
    from portico.kit.runtime.declaration_check import Undeclared
    from portico.kit.runtime.serving import AddressRefused, PortTaken
    from portico.kit.runtime.system import NoSuchService
    from portico.kit.runtime.system_loader import NoSuchSystem
    from portico.kit.runtime.tls import CertificateUnusable
    from portico.services.identity.errors import KeyDecryptionFailed

    message: Message | None = None
    match error:
        case PortTaken():
            message = _port_taken(error.host, error.port)
        case DatabaseUnusable():
            message = (error.problem,), error.advice
        case DatabaseMissing():
            message = _database_missing(error.name, error.statements)
        case NotMigrated():
            message = (_sentence(error),), "Run `portico migrate upgrade`, or start the service with --migrate."
        case AddressRefused():
            message = (_sentence(error),), "Choose another with --host and --port (HOST in the environment)."
        case NoSuchService():
            message = (_sentence(error),), _OTHER_SYSTEM
        case NoSuchSystem() | Undeclared() | AddressError() | KeyDecryptionFailed() | CertificateUnusable():
            message = (_sentence(error),), None
        case OSError(errno=int(number)) if number in _FILE_ERRORS:
            file = "" if error.filename is None else f"{error.filename}: "
            message = (_sentence(f"{file}{error.strerror}"),), _FILE_ERRORS[number]
        case _:
            message = _error_in_own_code(error)
    return message


def _error_in_own_code(error: Exception) -> Message | None:
    """Return where code of the user failed; None if no such code is involved."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    if isinstance(error, SyntaxError) and error.filename is not None:
        places.append((error.filename, error.lineno))
    own = [(path, line) for file, line in places if (path := _own_path(file)) is not None]
    if not own:
        return None
    path, line = own[-1]
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return (f"{path}, line {line}: {type(error).__name__}: {reason}",), "DEBUG=1 prints the traceback."


def _own_path(file: str) -> Path | None:
    """Return the path of a user's file, relative to the working directory; None for code of Portico and of libraries."""
    path = Path(file)
    if not path.is_file() or any(path.is_relative_to(each) for each in (_PORTICO, *_LIBRARIES)):
        return None
    if "site-packages" in path.parts:  # of an environment in the project's folder
        return None
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _sentence(error: Exception | str) -> str:
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
