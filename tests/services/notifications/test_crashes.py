import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from tests.services.notifications.sender_process import MAILS
from tests.services.notifications.support import open_notifications

from portico.testing.clock import START, ManualClock
from portico.testing.databases import SQLiteDatabases

ROOT = Path(__file__).parents[3]
LEASE = 60  # seconds; longer than the claim of a killed process


def kill_after(mails: int | None, folder: Path, start: int) -> list[str]:
    """Run the sender from `start` on and kill it once it has delivered so many mails. Return the lines that it printed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.services.notifications.sender_process", str(folder), str(start)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    lines = []
    with child:
        for line in child.stdout:
            lines.append(line.strip())
            if len(lines) == mails:
                child.kill()
    return lines


@pytest.mark.slow
class TestKilledProcess:
    async def test_loses_no_mail_and_stores_none_twice(self, tmp_path: Path) -> None:
        for turn, mails in enumerate((1, 2, 5, 9)):
            assert "done" not in kill_after(mails, tmp_path, turn * LEASE)

        assert kill_after(None, tmp_path, 4 * LEASE)[-1] == "done"

        clock = ManualClock(START + timedelta(seconds=5 * LEASE))
        async with open_notifications(SQLiteDatabases(tmp_path / "databases"), tmp_path, clock=clock) as notifications:
            found = await notifications.list_notifications()
            mails = await notifications.mails()
            details = [await notifications.read_detail(each["notification_id"]) for each in found]
        assert Counter(each["status"] for each in found) == {"sent": MAILS}
        assert sorted(mail.mail_id for mail in mails) == sorted(each["mail_id"] for each in found)
        outcomes = [[attempt["outcome"] for attempt in each["attempts"]] for each in details]
        assert all(each == ["uncertain"] * (len(each) - 1) + ["delivered"] for each in outcomes)
        assert any(len(each) > 1 for each in outcomes)  # some attempt was interrupted
