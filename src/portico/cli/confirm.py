"""Confirmation before a command does something that cannot be undone."""

import sys

import typer

from portico.kit.foundation.errors import CommandError


def confirm(question: str) -> None:
    """Ask the user; abort unless the answer is yes. Raises CommandError if standard input is not a terminal."""
    if not sys.stdin.isatty():
        raise CommandError(question, "Standard input is not a terminal. Confirm with --yes.")
    typer.confirm(question, abort=True, err=True)
