"""Functions that tests of the fork server run in forked processes."""

import json
import os
import signal
import sys
from pathlib import Path


def describe() -> None:
    """Print what the process has got."""
    name = Path("/proc/self/comm")
    described = {
        "arguments": sys.argv[1:],
        "environ": dict(os.environ),
        "folder": str(Path.cwd()),
        "leads_session": os.getsid(0) == os.getpid(),
        "name": name.read_text().strip() if name.exists() else None,
        "ignores_interrupts": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    }
    sys.stdout.write(json.dumps(described))


def read_input() -> None:
    """Wait for the end of standard input."""
    sys.stdin.read()


def exit_with_number() -> None:
    """Exit as `sys.exit(3)` does."""
    sys.exit(3)


def exit_with_text() -> None:
    """Exit as `sys.exit("no")` does."""
    sys.exit("no")


def fail() -> None:
    """Raise an exception that nothing catches."""
    raise ValueError("unexpected")
