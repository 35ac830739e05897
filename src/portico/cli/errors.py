"""Errors of commands, and how the command line prints them, warnings and progress."""

import os
import sys
import traceback

from portico.kit.foundation.errors import CommandError
from portico.kit.runtime.signals import USER_ERROR

INTERNAL_ERROR = 1
"""Exit status if Portico is at fault."""


def print_error(error: Exception) -> int:
    """Print `error` to standard error, with a traceback only if DEBUG is set.

    Returns:
        the exit status: 2 if the user can fix the error, 1 if Portico is at fault.
    """
    from rich.console import Console
    from rich.text import Text

    problems, advice, status = _describe(error)
    console = Console(stderr=True, highlight=False)
    for problem in problems:
        console.print(Text("✗ ", style="bold red"), Text(problem), sep="", soft_wrap=True)
    if advice is not None:
        console.print(Text(f"  {advice}", style="dim"), soft_wrap=True)
    if is_debug():
        sys.stderr.write("".join(traceback.format_exception(error)))
    return status


def print_warning(text: str) -> None:
    """Print a warning to standard error."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, highlight=False).print(Text("! ", style="bold yellow"), Text(text), sep="", soft_wrap=True)


def print_progress(text: str) -> None:
    """Print what the command is doing to standard error, dimmed on a terminal."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, style="dim", soft_wrap=True, markup=False)


def is_debug() -> bool:
    """Return whether DEBUG is set in the environment. It works when the settings cannot be read."""
    return os.environ.get("DEBUG", "").strip().lower() in {"1", "true", "yes", "on"}


def _describe(error: Exception) -> tuple[tuple[str, ...], str | None, int]:
    from portico.cli.error_messages import user_message
    from portico.kit.settings.masking import mask_url

    if isinstance(error, CommandError):
        return (error.problem,), error.advice, USER_ERROR
    if (message := user_message(error)) is not None:
        return *message, USER_ERROR
    advice = None if is_debug() else "Run the command again with DEBUG=1 for a traceback, and report the error."
    return (f"Portico failed: {type(error).__name__}: {mask_url(str(error))}",), advice, INTERNAL_ERROR
