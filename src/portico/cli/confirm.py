"""Asking before what can't be undone."""

import sys

import typer

from portico.cli.errors import CommandError


def ask(question: str) -> None:
    """Go on only where the user says yes. Raises CommandError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise CommandError(question, "There is nobody to ask: say --yes.")
    typer.confirm(question, abort=True, err=True)
