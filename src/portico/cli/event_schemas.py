"""Freezes the schemas of events: `python -m portico.cli.event_schemas portico.contracts`, or a package of your own."""

import sys

from portico.cli.errors import MENDABLE
from portico.kit.messaging.schemas import ContractBroken, FrozenSchemas, event_classes


def main() -> None:
    """Write what is new or grew beside the classes. Ends with 2, and writes nothing, where a change would break readers."""
    package = sys.argv[1]
    try:
        written = FrozenSchemas.of(package).freeze(event_classes(package))
    except ContractBroken as broken:
        lines = [*(f"✗ {change}" for change in broken.changes)]
        advice = "Leave this version as it was and declare the next one beside it; remove a file only once nobody keeps such events."
        sys.stderr.write("\n".join([*lines, f"  {advice}\n"]))
        sys.exit(MENDABLE)
    for name in written:
        print(f"Froze {name}")


if __name__ == "__main__":
    main()
