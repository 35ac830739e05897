"""Freeze the schemas of events: `python -m portico.cli.event_schemas portico.contracts`, or a package of your own."""

import sys

from portico.kit.messaging.schemas import ContractBroken, FrozenSchemas, event_classes
from portico.kit.runtime.signals import USER_ERROR

_ADVICE = """\
  Restore this version, and declare the next one beside it.
  Delete the file of an event that was never released, or that is no longer stored anywhere."""


def main() -> None:
    """Write the schemas of new and extended events. If a change would break consumers, write none and exit with 2."""
    package = sys.argv[1]
    try:
        written = FrozenSchemas.of(package).freeze(event_classes(package))
    except ContractBroken as broken:
        changes = "".join(f"✗ {change}\n" for change in broken.changes)
        sys.stderr.write(f"{changes}{_ADVICE}\n")
        sys.exit(USER_ERROR)
    for name in written:
        print(f"Froze {name}")


if __name__ == "__main__":
    main()
