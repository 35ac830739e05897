"""A process that handles a batch of events and blocks before its commit, for a test to kill: `killed.py <database> <broker>`."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.kit.messaging.leaving import ReaderLeft, Shelving

from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.messaging.inbox import Inbox
from portico.kit.runtime.system import Placement
from portico.testing.running_service import run_service

GROUP = "loans"


@dataclass
class Hanging(Shelving):
    """Handles all events but the last."""

    hang_after: int = 0

    async def handled(self, event: ReaderLeft) -> None:
        print(event.title, flush=True)  # noqa: T201  # the test waits for these lines
        if len(self.seen) >= self.hang_after:
            await asyncio.Event().wait()


@dataclass(frozen=True)
class Address:
    """Databases of the test that started this process."""

    address: str
    dialect: str = ""

    def fresh(self, name: str = "main") -> str:
        raise NotImplementedError(name)

    def per_service(self) -> str:
        return self.address

    async def create_migrated(self, placement: Placement) -> None:
        """Leave the tables to the start of the service."""


async def main(address: str, broker_file: Path, number: int) -> None:
    shelving = Hanging(hang_after=number)
    async with (
        run_service(shelving.service(), Address(address), background=False, template=False) as library,
        EmbeddedBroker(broker_file) as broker,
    ):
        inbox = Inbox(library.context, slow=60.0)  # a busy machine must not divide the batch
        await broker.consume(GROUP, inbox.deliver, concurrency=number)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
