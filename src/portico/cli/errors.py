"""What a person is told when a command can't do what was asked."""

import os
import sys
import traceback

MENDABLE = 2
"""the exit status where the user can mend what is wrong"""
BROKEN = 1
"""the exit status where Portico is at fault"""


class CommandError(Exception):
    """Something that the user can mend.

    Args:
        problem: what is wrong, a sentence.
        advice: what to do about it.
    """

    def __init__(self, problem: str, advice: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


def present(error: Exception) -> int:
    """Tell the user of `error` on standard error, with a traceback only where DEBUG is set.

    Returns:
        the exit status: 2 where the user can mend it, 1 where it should not have happened.
    """
    from rich.console import Console
    from rich.text import Text

    problems, advice, status = _told(error)
    console = Console(stderr=True, highlight=False)
    for problem in problems:
        console.print(Text("✗ ", style="bold red"), Text(problem), sep="", soft_wrap=True)
    if advice is not None:
        console.print(Text(f"  {advice}", style="dim"), soft_wrap=True)
    if debugging():
        sys.stderr.write("".join(traceback.format_exception(error)))
    return status


def debugging() -> bool:
    """Whether DEBUG is set in the environment: asked also where the settings can't be read."""
    return os.environ.get("DEBUG", "").strip().lower() in {"1", "true", "yes", "on"}


def _told(error: Exception) -> tuple[tuple[str, ...], str | None, int]:
    from portico.cli.error_messages import mendable
    from portico.kit.settings.masking import mask_url

    if isinstance(error, CommandError):
        return (error.problem,), error.advice, MENDABLE
    if (told := mendable(error)) is not None:
        return *told, MENDABLE
    again = None if debugging() else "Run it again with DEBUG=1 to see where, and tell us."
    return (f"Portico failed: {type(error).__name__}: {mask_url(str(error))}",), again, BROKEN
