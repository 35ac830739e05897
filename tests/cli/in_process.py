"""Run commands in the process of the tests, which has imported their modules: a new process imports for seconds."""

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from portico.cli import main
from portico.testing.commands import environment


def run_here(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None, entered: str = ""
) -> CompletedProcess[str]:
    """Run a command to its end, as `run_portico` does. It must not handle signals or start processes."""
    out, err = _stream(), _stream()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(os, "environ", environment(variables))
        patch.setattr(sys, "argv", ["portico", *arguments])
        patch.setattr(sys, "stdin", StringIO(entered))
        patch.setattr(sys, "path", [*sys.path])
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main()
    return CompletedProcess(arguments, ended.value.code, _text(out), _text(err))


def _stream() -> TextIOWrapper:
    return TextIOWrapper(BytesIO(), "utf-8", write_through=True)


def _text(stream: TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()
