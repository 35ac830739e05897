"""A process that lends a book and blocks after charging the deposit, for a test to kill: `killed.py <database> <ledger>`.

The ledger is a file to which the desk writes each charge. The desk never responds.
"""

import asyncio
import os
import sys
from pathlib import Path

from tests.examples.loans.desk import Desk
from tests.kit.sagas.library import open_library

from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.runtime.system import Placement


class Hanging(Desk):
    def __init__(self, ledger: Path) -> None:
        super().__init__()
        self._ledger = ledger

    async def send(self, out: Outgoing) -> Incoming:
        answer = await super().send(out)
        if out.path != "/oauth/token":
            with self._ledger.open("a") as ledger:
                ledger.write(f"{self.calls[-1]}\n")
                ledger.flush()
                os.fsync(ledger.fileno())
            print("charged", flush=True)  # noqa: T201  # the test waits for this line
            await asyncio.Event().wait()
        return answer


class Address:
    """Databases of the test that started this process."""

    dialect = ""

    def __init__(self, address: str) -> None:
        self._address = address

    def fresh(self, name: str = "main") -> str:
        raise NotImplementedError(name)

    def per_service(self) -> str:
        return self._address

    async def create_migrated(self, placement: Placement) -> None:
        """Leave the tables to the start of the service."""


async def main(address: str, ledger: Path) -> None:
    async with open_library(Address(address), desk=Hanging(ledger)) as library:
        print(await library.asked(), flush=True)  # noqa: T201  likewise
        await library.runner.run_due()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
