"""Freezes the schemas of events: `python -m portico.cli.event_schemas portico.contracts`, or a package of your own."""

import sys

from portico.cli.errors import MENDABLE
from portico.kit.messaging.schemas import ContractBroken, FrozenSchemas, event_classes

_ADVICE = """\
  Leave this version as it was, and declare the next one beside it.
  Remove the file of an event that was never released, or that nobody keeps any more."""


def main() -> None:
    """Write what is new or grew beside the classes. Ends with 2, and writes nothing, where a change would break readers."""
    package = sys.argv[1]
    try:
        written = FrozenSchemas.of(package).freeze(event_classes(package))
    except ContractBroken as broken:
        told = "".join(f"✗ {change}\n" for change in broken.changes)
        sys.stderr.write(f"{told}{_ADVICE}\n")
        sys.exit(MENDABLE)
    for name in written:
        print(f"Froze {name}")


if __name__ == "__main__":
    main()
