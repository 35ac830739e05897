"""A process that sends mails until it is killed: `python -m tests.services.notifications.crashing FOLDER START`.

It begins with START seconds on its clock, and says so each time that the mailbox took a mail, before that is recorded. When
nothing is left to send it says `done`.
"""

import asyncio
import logging
import sys
from datetime import timedelta
from pathlib import Path

import structlog
from tests.services.notifications.letters import opened

from portico.services.notifications.mail import Mail
from portico.testing.clock import START, HeldClock
from portico.testing.databases import SQLiteDatabases

MAILS = 30


async def main(folder: Path, start: int) -> None:
    clock = HeldClock(START + timedelta(seconds=start))
    async with opened(SQLiteDatabases(folder / "databases"), folder, clock=clock) as letters:
        if start == 0:
            ada = await letters.known_user()
            for _ in range(MAILS):
                await letters.confirmed(ada)
        send = letters.faults.mailbox.send

        async def tell(mail: Mail) -> str:
            answer = await send(mail)
            print("delivered", flush=True)  # noqa: T201  who reads it kills this process
            await asyncio.sleep(0)
            return answer

        letters.faults.mailbox.send = tell  # type: ignore[method-assign]  # this process is the test's own
        await letters.send()
        print("done", flush=True)  # noqa: T201  likewise


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
