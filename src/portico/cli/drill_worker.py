"""A worker process of the drill on servers: one of `portico up --split`, with faults inside its calls and sagas."""

import os
from typing import Any

from portico.cli import worker


def inject_faults(composition: Any) -> None:
    """Inject the faults that the drill described in the environment."""
    from portico.drill.faults.processes import ProcessFaults

    faults = ProcessFaults.of(os.environ)
    if faults is not None:
        faults.inject(composition.host.contexts.values())


def main() -> None:
    """Serve the assignment that the drill sends. Ends the process."""
    worker.main(inject_faults)
