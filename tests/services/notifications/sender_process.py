"""A process that sends mails until it is killed: `python -m tests.services.notifications.sender_process FOLDER START`.

Its clock starts at START seconds. It prints `delivered` after the mailbox stored a mail and before the result is recorded, and
`done` when no mail is left.
"""

import asyncio
import logging
import sys
from datetime import timedelta
from pathlib import Path

import structlog
from tests.services.notifications.support import open_notifications

from portico.services.notifications.mail import Mail
from portico.testing.clock import START, ManualClock
from portico.testing.databases import SQLiteDatabases

MAILS = 30


async def main(folder: Path, start: int) -> None:
    clock = ManualClock(START + timedelta(seconds=start))
    async with open_notifications(SQLiteDatabases(folder / "databases"), folder, clock=clock) as notifications:
        if start == 0:
            ada = await notifications.create_user()
            for _ in range(MAILS):
                await notifications.confirm_order(ada)
        send = notifications.mailer.mailbox.send

        async def send_and_report(mail: Mail) -> str:
            answer = await send(mail)
            print("delivered", flush=True)  # noqa: T201  the test reads it and kills this process
            await asyncio.sleep(0)
            return answer

        notifications.mailer.mailbox.send = send_and_report  # type: ignore[method-assign]  # this process belongs to the test
        await notifications.send_due()
        print("done", flush=True)  # noqa: T201  likewise


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
